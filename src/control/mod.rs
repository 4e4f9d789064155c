//! Our own database: connection, migrations, the private server of `up`. Never the database that is protected.
