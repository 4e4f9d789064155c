//! The shell: roles, verbs, the five handlers and the one place where concrete types meet. Module list only.
