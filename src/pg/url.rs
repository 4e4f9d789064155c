//! `DATABASE_URL` taken apart: everything percent-decoded, TLS settings kept, Prisma's own parameters dropped.
//!
//! Own splitting rather than a URL parser: libpq and Prisma write forms (`postgres://user:password@/db?host=/run`) that a
//! WHATWG parser refuses. No error repeats any part of the text that may hold the password.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr, time::Duration};

use percent_encoding::percent_decode_str;
use sqlx::postgres::PgSslMode;
use zeroize::Zeroizing;

use super::{
    cluster::{Address, Cluster},
    error::PgError,
};

const DEFAULT_HOST: &str = "localhost";
const DEFAULT_PORT: u16 = 5432;
const DEFAULT_USER: &str = "kanbu";
const DEFAULT_DATABASE: &str = "kanbu";

/// Parameters that mean something to libpq, with the environment variable that hands each to a client tool.
const KEPT: [(&str, &str); 14] = [
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslcrl", "PGSSLCRL"),
    ("sslsni", "PGSSLSNI"),
    ("sslcertmode", "PGSSLCERTMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("require_auth", "PGREQUIREAUTH"),
    ("gssencmode", "PGGSSENCMODE"),
    ("krbsrvname", "PGKRBSRVNAME"),
];

/// Prisma's parameters that say nothing about how to reach the server.
const PRISMA: [&str; 10] = [
    "schema",
    "connection_limit",
    "pool_timeout",
    "pgbouncer",
    "socket_timeout",
    "statement_cache_size",
    "max_connection_lifetime",
    "max_idle_connection_lifetime",
    "single_use_connections",
    "application_name",
];

/// The URL before defaults are filled in.
#[derive(Default)]
struct Parts {
    host: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    password: Option<Zeroizing<String>>,
    database: Option<String>,
    settings: BTreeMap<&'static str, String>,
    connect_timeout: Option<Duration>,
    strict_tls: bool,
    ignored: Vec<String>,
}

pub(super) fn parse(text: &str) -> Result<Cluster, PgError> {
    let rest = text
        .strip_prefix("postgres://")
        .or_else(|| text.strip_prefix("postgresql://"))
        .ok_or_else(|| wrong("it does not begin with postgres:// or postgresql://"))?;
    let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = before_query.split_once('/').unwrap_or((before_query, ""));

    let mut parts = Parts::default();
    if let Some((credentials, address)) = authority.rsplit_once('@') {
        parts.credentials(credentials)?;
        parts.address(address)?;
    } else {
        parts.address(authority)?;
    }
    if !database.is_empty() {
        parts.database = Some(decode(database, "the database name")?);
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        parts.parameter(pair)?;
    }
    parts.into_cluster()
}

impl Parts {
    fn credentials(&mut self, text: &str) -> Result<(), PgError> {
        let (user, password) = match text.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (text, None),
        };
        if !user.is_empty() {
            self.user = Some(decode(user, "the user")?);
        }
        if let Some(password) = password.filter(|password| !password.is_empty()) {
            self.password = Some(Zeroizing::new(decode(password, "the password")?));
        }
        Ok(())
    }

    fn address(&mut self, text: &str) -> Result<(), PgError> {
        if text.contains(',') {
            return Err(wrong("it names several hosts, and one server is protected"));
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, after) = rest
                .split_once(']')
                .ok_or_else(|| wrong("the bracket of an IPv6 address is not closed"))?;
            host.parse::<std::net::Ipv6Addr>()
                .map_err(|_| wrong("the address in brackets is not IPv6"))?;
            let port = match after {
                "" => None,
                _ => Some(
                    after
                        .strip_prefix(':')
                        .ok_or_else(|| wrong("something follows the bracket that is no port"))?,
                ),
            };
            (host, port)
        } else {
            match text.rsplit_once(':') {
                Some((host, _)) if host.contains(':') => {
                    return Err(wrong("an IPv6 address has to stand in brackets"));
                }
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if !host.is_empty() {
            self.host = Some(decode(host, "the host")?);
        }
        if let Some(port) = port.filter(|port| !port.is_empty()) {
            self.port = Some(port_number(port)?);
        }
        Ok(())
    }

    fn parameter(&mut self, pair: &str) -> Result<(), PgError> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name, "the name of a parameter")?;
        let value = decode(value, "the value of a parameter")?;
        if let Some((_, variable)) = KEPT.iter().find(|(kept, _)| *kept == name) {
            if name == "sslmode" && PgSslMode::from_str(&value).is_err() {
                return Err(wrong(
                    "sslmode has to be disable, allow, prefer, require, verify-ca or verify-full",
                ));
            }
            if !value.is_empty() {
                self.settings.insert(variable, value);
            }
            return Ok(());
        }
        match name.as_str() {
            "host" if !value.is_empty() => self.host = Some(value),
            "port" if !value.is_empty() => self.port = Some(port_number(&value)?),
            "user" if !value.is_empty() => self.user = Some(value),
            "password" if !value.is_empty() => self.password = Some(Zeroizing::new(value)),
            "dbname" if !value.is_empty() => self.database = Some(value),
            "connect_timeout" => {
                let seconds: u64 = value
                    .parse()
                    .map_err(|_| wrong("connect_timeout has to be a number of seconds"))?;
                self.connect_timeout = (seconds > 0).then(|| Duration::from_secs(seconds));
            }
            "sslaccept" => self.strict_tls = value == "strict",
            _ if PRISMA.contains(&name.as_str()) => {}
            _ => self.ignored.push(name),
        }
        Ok(())
    }

    fn into_cluster(mut self) -> Result<Cluster, PgError> {
        // Prisma's `sslcert` is the certificate of the authority; libpq's is the client's own and needs a key.
        if !self.settings.contains_key("PGSSLKEY")
            && let Some(authority) = self.settings.remove("PGSSLCERT")
        {
            self.settings.entry("PGSSLROOTCERT").or_insert(authority);
        }
        // Prisma checks certificates by a switch of its own; dropping it would weaken the connection.
        if self.strict_tls
            && self
                .settings
                .get("PGSSLMODE")
                .is_some_and(|mode| mode == "require")
        {
            self.settings.insert("PGSSLMODE", "verify-full".to_owned());
        }
        let port = self.port.unwrap_or(DEFAULT_PORT);
        let host = self.host.unwrap_or_else(|| DEFAULT_HOST.to_owned());
        let address = if host.starts_with('/') {
            Address::Socket {
                directory: PathBuf::from(host),
                port,
            }
        } else if host.contains(',') {
            return Err(wrong("it names several hosts, and one server is protected"));
        } else {
            Address::Tcp { host, port }
        };
        Ok(Cluster {
            address,
            user: self.user.unwrap_or_else(|| DEFAULT_USER.to_owned()),
            password: self.password,
            database: self.database.unwrap_or_else(|| DEFAULT_DATABASE.to_owned()),
            settings: self.settings,
            connect_timeout: self.connect_timeout,
            ignored: self.ignored,
        })
    }
}

fn port_number(text: &str) -> Result<u16, PgError> {
    match text.parse() {
        Ok(0) | Err(_) => Err(wrong(
            "the port is not a number from 1 to 65535 (a ':', '/', '?', '#' or '@' in the password has to be percent-encoded)",
        )),
        Ok(port) => Ok(port),
    }
}

fn decode(text: &str, what: &str) -> Result<String, PgError> {
    let decoded = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| wrong(format!("{what} is not UTF-8 once it is decoded")))?;
    if decoded.contains('\0') {
        return Err(wrong(format!("{what} holds a zero byte")));
    }
    Ok(decoded.into_owned())
}

fn wrong(reason: impl Into<String>) -> PgError {
    PgError::Url {
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp {
            host: host.into(),
            port,
        }
    }

    #[test]
    fn everything_is_percent_decoded() {
        let cluster =
            parse("postgresql://us%40er:p%3A%5C%27%22%20%25@db.example:6543/my%2Fdb").unwrap();
        assert_eq!(cluster.address, tcp("db.example", 6543));
        assert_eq!(cluster.user(), "us@er");
        assert_eq!(cluster.password.unwrap().as_str(), "p:\\'\" %");
        assert_eq!(cluster.database, "my/db");
    }

    #[test]
    fn what_is_absent_gets_the_defaults_of_kanbu() {
        let cluster = parse("postgres://").unwrap();
        assert_eq!(cluster.address, tcp("localhost", 5432));
        assert_eq!((cluster.user(), cluster.database()), ("kanbu", "kanbu"));
        assert!(cluster.password.is_none());
    }

    #[test]
    fn addresses_may_be_ipv6_or_a_socket_directory() {
        let v6 = parse("postgres://u:p@[2001:db8::1]:5433/d").unwrap();
        assert_eq!(v6.address, tcp("2001:db8::1", 5433));
        let socket = Address::Socket {
            directory: "/var/run/postgresql".into(),
            port: 5434,
        };
        for text in [
            "postgres://u:p@/d?host=/var/run/postgresql&port=5434",
            "postgres://u:p@localhost:5434/d?host=%2Fvar%2Frun%2Fpostgresql",
            "postgres://u:p@%2Fvar%2Frun%2Fpostgresql:5434/d",
        ] {
            assert_eq!(parse(text).unwrap().address, socket, "{text}");
        }
    }

    #[test]
    fn tls_settings_are_kept_and_those_of_prisma_dropped() {
        let cluster = parse(
            "postgres://u@h/d?schema=public&connection_limit=5&pool_timeout=0&pgbouncer=true&sslmode=verify-ca&sslrootcert=/ca.pem&colour=red",
        )
        .unwrap();
        assert_eq!(cluster.settings["PGSSLMODE"], "verify-ca");
        assert_eq!(cluster.settings["PGSSLROOTCERT"], "/ca.pem");
        assert_eq!(cluster.settings.len(), 2);
        assert_eq!(cluster.ignored(), ["colour"]);
    }

    #[test]
    fn what_prisma_means_by_its_tls_parameters_is_honoured() {
        let cluster =
            parse("postgres://u@h/d?sslmode=require&sslaccept=strict&sslcert=/ca.pem").unwrap();
        assert_eq!(cluster.settings["PGSSLMODE"], "verify-full");
        assert_eq!(cluster.settings["PGSSLROOTCERT"], "/ca.pem");
        assert!(!cluster.settings.contains_key("PGSSLCERT"));
    }

    #[test]
    fn a_refused_url_is_not_repeated_in_the_error() {
        for text in [
            "mysql://u:hunter2@h/d",
            "postgres://u:hunter2@h:port/d",
            "postgres://u:hun/ter2@h/d",
            "postgres://u:hunter2@h1,h2/d",
            "postgres://u:hunter2@::1:5432/d",
            "postgres://u:hunter2@[::1/d",
            "postgres://u:hunter2%00@h/d",
            "postgres://u:hunter2@h/d?sslmode=maybe",
            "host=h password=hunter2",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(!error.contains("hun") && !error.contains("ter2"), "{error}");
        }
    }
}
