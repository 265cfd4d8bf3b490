console.log('a script without tests');
