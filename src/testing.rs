//! Private servers, worlds, signals and clocks for the tests (feature `testing`).
