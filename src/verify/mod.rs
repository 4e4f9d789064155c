//! The use case Verify: looks at copies again and says what was found.
