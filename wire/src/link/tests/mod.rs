//! The links over a small network in virtual time.
<<<<<<< HEAD
=======

mod net;
mod perfect;
>>>>>>> links
