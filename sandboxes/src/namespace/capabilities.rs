//! No capability in any set, and none to be had.

use rustix::{
    io::Errno,
    thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets},
};

/// The highest capability number that a kernel may know (a set is 64 bits wide, `capabilities(7)`).
const MOST: u32 = 63;

/// Empties the bounding, ambient, inheritable, permitted and effective sets, and locks the rules that could refill them.
pub(super) fn drop_all() -> Result<(), Errno> {
    rustix::thread::clear_ambient_capability_set()?;
    for number in 0..=MOST {
        // SAFETY: PR_CAPBSET_DROP takes a number and touches no memory.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
        if result < 0 {
            match super::process::last_errno() {
                // The kernel knows no capability with this number, and so none above it.
                Errno::INVAL => break,
                errno => return Err(errno),
            }
        }
    }
    rustix::thread::set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )?;
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}
