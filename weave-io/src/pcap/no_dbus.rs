//! Stands in for libdbus in static programs.
//!
//! Debian's `libpcap.a` can also capture from a D-Bus, and so refers to libdbus, whose own static library needs one of
//! systemd that does not exist. A capture begins only after the kernel was found to know a network device of that name,
//! so nothing of this is ever called but for a device named like a bus; there libpcap finds no connection and says so.
//! Without `crt-static` the shared libpcap brings libdbus along.
#![allow(unsafe_code, reason = "symbols for the linker")]

use std::ffi::c_void;
use std::ptr;

macro_rules! absent {
    ($($name:ident)+) => {$(
        // SAFETY: the program has no other function of this name: nothing in it is linked with libdbus. All arguments
        // are ignored, as the calling convention allows, and "null" is a value of each result, which is a pointer, a
        // number or nothing: no connection, no message, not done.
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> *mut c_void {
            ptr::null_mut()
        }
    )+};
}

absent! {
    dbus_bus_add_match
    dbus_bus_get
    dbus_bus_register
    dbus_connection_flush
    dbus_connection_open
    dbus_connection_pop_message
    dbus_connection_read_write
    dbus_connection_send
    dbus_connection_set_max_received_size
    dbus_connection_unref
    dbus_error_free
    dbus_error_is_set
    dbus_free
    dbus_message_demarshal
    dbus_message_is_signal
    dbus_message_marshal
    dbus_message_unref
}
