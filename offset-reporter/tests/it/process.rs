//! The reporter as a process.
