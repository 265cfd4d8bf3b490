//! Unmounting images behind a call's back: an answer does not wait until what a build wrote is on the disk.

use std::{io, sync::mpsc, thread};

use super::image::Image;

/// Images that wait to be unmounted. Each call has one, and few calls end at the same time.
const WAITING: usize = 8;

/// The thread that unmounts. Dropping it waits until all is unmounted.
#[derive(Debug)]
pub(crate) struct Closer {
    /// `None` only while it is dropped.
    images: Option<mpsc::SyncSender<Image>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Closer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no thread more.
    pub(crate) fn start() -> io::Result<Self> {
        let (images, received) = mpsc::sync_channel::<Image>(WAITING);
        let close = move || received.into_iter().for_each(Image::close);
        let thread = thread::Builder::new().name("closer".into()).spawn(close)?;
        Ok(Self { images: Some(images), thread: Some(thread) })
    }

    /// Unmounts an image, some time soon. Whoever wants it next waits for its lock.
    pub(super) fn close(&self, image: Image) {
        if let Some(images) = &self.images
            && let Err(mpsc::SendError(image)) = images.send(image)
        {
            image.close();
        }
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.images = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
