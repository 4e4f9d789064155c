//! Environment to validated types, secrets wrapped. One struct per concern, handed only to its consumer.
