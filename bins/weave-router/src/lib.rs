//! The weave router daemon as a library, so that one binary can carry both programs.
