//! What a client tool complained of, read from its standard error.
//!
//! The exit status says *that* a tool failed; only its text says why. Nothing here decides success. A server that speaks
//! another language makes a complaint [`Complaint::Other`], never a wrong one.

/// The last lines of a tool's standard error that an error message repeats.
const DETAIL_LINES: usize = 6;

/// Why a client tool stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Complaint {
    Authentication,
    DatabaseMissing,
    /// No connection could be made at all.
    Unreachable,
    /// A connection was there, and ended.
    WentAway,
    LockTimeout,
    /// The server doesn't know the snapshot that another session has exported.
    Snapshot,
    Permission,
    /// The dump names a role that the server lacks.
    RoleMissing(String),
    /// A newer `pg_dump` wrote a word of its own into the text.
    WordUnknown,
    /// The server has no room left.
    DiskFull,
    /// The shell did not find the tool.
    ToolMissing,
    Other,
}

impl Complaint {
    /// The first complaint that the text holds. Connection texts come first: a lost connection makes a tool say more.
    pub(super) fn read(stderr: &str) -> Self {
        let has = |part: &str| stderr.contains(part);
        if has("password authentication failed")
            || has("no password supplied")
            || has("no pg_hba.conf entry")
            || has("Peer authentication failed")
            || has("Ident authentication failed")
        {
            return Self::Authentication;
        }
        if has("FATAL:  database \"") && has("\" does not exist") {
            return Self::DatabaseMissing;
        }
        if has("server closed the connection unexpectedly")
            || has("terminating connection")
            || has("no connection to the server")
            || has("SSL SYSCALL error: EOF detected")
        {
            return Self::WentAway;
        }
        if has("FATAL:  role \"") && has("\" does not exist") {
            return Self::Authentication;
        }
        if has("could not connect to server")
            || has("connection to server at") && has(" failed: ")
            || has("connection to server on socket") && has(" failed: ")
            || has("could not translate host name")
        {
            return Self::Unreachable;
        }
        // `--lock-wait-timeout` works by the server's statement timeout.
        if has("canceling statement due to lock timeout")
            || has("canceling statement due to statement timeout") && has("LOCK TABLE")
        {
            return Self::LockTimeout;
        }
        if has("invalid command \\restrict") || has("invalid command \\unrestrict") {
            return Self::WordUnknown;
        }
        if has("invalid snapshot identifier")
            || has("could not import the requested snapshot")
            || has("ERROR:  snapshot \"") && has("\" does not exist")
        {
            return Self::Snapshot;
        }
        if has("No space left on device") {
            return Self::DiskFull;
        }
        if let Some(role) = missing_role(stderr) {
            return Self::RoleMissing(role);
        }
        if has("permission denied") || has("must be owner of") {
            return Self::Permission;
        }
        Self::Other
    }

    /// What happened, to follow the tool's name.
    pub(super) fn sentence(&self) -> &'static str {
        match self {
            Self::Authentication => "was refused by the server, which did not accept the user",
            Self::DatabaseMissing => "did not find the database",
            Self::Unreachable => "could not reach the server",
            Self::WentAway => "lost its connection to the server",
            Self::LockTimeout => "waited too long for the lock of a table and gave up",
            Self::Snapshot => "found no snapshot of the session that keeps it",
            Self::Permission => "was not permitted to do what it has to",
            Self::RoleMissing(_) => "met a role that the server does not have",
            Self::WordUnknown => "is too old for the dump, which begins with \\restrict",
            Self::DiskFull => "was stopped because the server's disk is full",
            Self::ToolMissing => "is not installed there",
            Self::Other => "failed",
        }
    }
}

/// The role of `ERROR:  role "kanbu_app" does not exist`.
pub fn missing_role(stderr: &str) -> Option<String> {
    let (_, rest) = stderr.split_once("role \"")?;
    let (role, tail) = rest.split_once('"')?;
    tail.starts_with(" does not exist").then(|| role.to_owned())
}

/// The tablespace of `invalid value for parameter "default_tablespace": "fast"`.
pub fn missing_tablespace(stderr: &str) -> Option<String> {
    let (_, rest) = stderr.split_once("parameter \"default_tablespace\": \"")?;
    let (tablespace, _) = rest.split_once('"')?;
    Some(tablespace.to_owned())
}

/// Before the statement that failed, which may be longer than all that is kept.
const STATEMENT: &str = "Command was:";

/// How the tools' own lines begin.
const OWN: [&str; 4] = ["pg_restore: ", "pg_dump: ", "pg_dumpall: ", "psql:"];

/// The end of a tool's standard error as one line. Of a statement that failed only the first line: the reason stands
/// before it.
pub(super) fn last_lines(stderr: &str) -> String {
    let mut in_statement = false;
    let is_told = |line: &&str| {
        if OWN.iter().any(|own| line.starts_with(own)) {
            in_statement = false;
        }
        let is_told = !in_statement && !line.is_empty();
        in_statement |= line.starts_with(STATEMENT);
        is_told
    };
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(is_told).collect();
    let from = lines.len().saturating_sub(DETAIL_LINES);
    match lines.get(from..) {
        None | Some([]) => "it printed nothing".to_owned(),
        Some(last) => last.join(" | "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_read_from_the_words_of_the_tools() {
        let cases = [
            (
                "pg_dump: error: connection to server at \"localhost\" (::1), port 5432 failed: FATAL:  password authentication failed for user \"kanbu\"",
                Complaint::Authentication,
            ),
            (
                "pg_dump: error: connection to server on socket \"/run/.s.PGSQL.5432\" failed: FATAL:  database \"kanbu\" does not exist",
                Complaint::DatabaseMissing,
            ),
            (
                "pg_dump: error: connection to server on socket \"/run/.s.PGSQL.5432\" failed: No such file or directory",
                Complaint::Unreachable,
            ),
            (
                "pg_dump: error: Dumping the contents of table \"a\" failed: PQgetCopyData() failed.\npg_dump: detail: Error message from server: server closed the connection unexpectedly",
                Complaint::WentAway,
            ),
            (
                "pg_dump: error: query failed: ERROR:  canceling statement due to statement timeout\npg_dump: detail: Query was: LOCK TABLE public.t IN ACCESS SHARE MODE",
                Complaint::LockTimeout,
            ),
            (
                "pg_restore: error: could not execute query: ERROR:  role \"kanbu_app\" does not exist",
                Complaint::RoleMissing("kanbu_app".into()),
            ),
            (
                "pg_dump: error: query failed: ERROR:  permission denied for table secret",
                Complaint::Permission,
            ),
            (
                "psql:<stdin>:5: error: invalid command \\restrict",
                Complaint::WordUnknown,
            ),
            (
                "ERROR:  could not extend file \"base/1/2\": No space left on device",
                Complaint::DiskFull,
            ),
            ("pg_dump: erreur : rien ne va plus", Complaint::Other),
        ];
        for (text, expected) in cases {
            assert_eq!(Complaint::read(text), expected, "{text}");
        }
    }

    #[test]
    fn a_tablespace_that_is_missing_is_named() {
        let said = "pg_restore: error: could not set default_tablespace to fast: ERROR:  invalid value for parameter \"default_tablespace\": \"fast\"";
        assert_eq!(missing_tablespace(said).as_deref(), Some("fast"));
        assert_eq!(
            missing_tablespace("ERROR:  role \"fast\" does not exist"),
            None
        );
    }

    #[test]
    fn the_detail_is_the_end_of_what_was_printed() {
        let lines: Vec<String> = (1..=20).map(|n| format!("line {n}\n\n")).collect();
        let text = lines.concat();
        assert_eq!(
            last_lines(&text),
            "line 15 | line 16 | line 17 | line 18 | line 19 | line 20"
        );
        assert_eq!(last_lines("\n"), "it printed nothing");
        let statement = format!(
            "Command was: CREATE TABLE t (\n{}",
            "    a integer,\n".repeat(20)
        );
        let text = format!(
            "pg_restore: error: could not execute query: ERROR:  no\n{statement}pg_restore: warning: w"
        );
        assert_eq!(
            last_lines(&text),
            "pg_restore: error: could not execute query: ERROR:  no | Command was: CREATE TABLE t ( | pg_restore: warning: w"
        );
    }
}
