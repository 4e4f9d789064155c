//! A TCP relay in front of PostgreSQL that can cut, hang, or fall exactly between a statement and its commit, or between
//! a commit and its answer.
//!
//! It reads the frontend's messages (Parse, Bind, Execute, Query) as far as it must to know which statement is being
//! executed and whether in a transaction; everything is handed on as it came. TLS is refused.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

/// What the relay does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// All connections are cut, new ones closed at once.
    Cut,
    /// Nothing moves, nothing is closed.
    Hang,
}

/// When a connection falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The server never commits: it doesn't get the statement, or, of a transaction, the commit.
    BeforeCommit,
    /// The server has committed, and its answer gets lost.
    AfterCommit,
}

/// Springs once, at the next execution of a statement with this text.
#[derive(Clone, Copy, Debug)]
struct Trap {
    text: &'static str,
    moment: Moment,
}

struct Shared {
    way: watch::Sender<Way>,
    trap: Mutex<Option<Trap>>,
    sprung: watch::Sender<usize>,
    port: AtomicU16,
}

pub(crate) struct Relay {
    pub(crate) url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn before(database: &str) -> Self {
        let mut url = url::Url::parse(database).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let shared = Arc::new(Shared {
            way: watch::Sender::new(Way::Open),
            trap: Mutex::default(),
            sprung: watch::Sender::new(0),
            port: AtomicU16::new(port_of(database)),
        });
        let port = listener.local_addr().unwrap().port();
        url.set_port(Some(port)).unwrap();
        let accepting = Arc::clone(&shared);
        let server = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&accepting);
                tokio::spawn(async move { connection(client, &shared).await });
            }
        });
        Self {
            url: url.into(),
            shared,
            server,
        }
    }

    /// Leads from now on to the server of this address, which has moved.
    pub(crate) fn lead_to(&self, database: &str) {
        self.shared.port.store(port_of(database), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, way: Way) {
        self.shared.way.send_replace(way);
    }

    /// The next execution of a statement with this text falls.
    pub(crate) fn arm(&self, text: &'static str, moment: Moment) {
        *self.shared.trap.lock().unwrap() = Some(Trap { text, moment });
    }

    pub(crate) fn disarm(&self) {
        *self.shared.trap.lock().unwrap() = None;
    }

    /// How many connections have fallen into traps.
    pub(crate) fn sprung(&self) -> usize {
        *self.shared.sprung.borrow()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn port_of(database: &str) -> u16 {
    url::Url::parse(database).unwrap().port().unwrap()
}

async fn connection(client: TcpStream, shared: &Shared) {
    let mut way = shared.way.subscribe();
    if *way.borrow() == Way::Cut {
        return;
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, shared.port.load(Ordering::Relaxed)));
    let Ok(server) = TcpStream::connect(address).await else {
        return;
    };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let loses_answer = AtomicBool::new(false);
    tokio::select! {
        _ = answers(from_server, Outlet { to: to_client, shared }, &loses_answer) => {}
        _ = cut(&mut way) => {}
        _ = async {
            let (from_client, to_client) = (from_client, Outlet { to: to_server, shared });
            questions(from_client, to_client, &loses_answer).await
        } => {}
    }
}

async fn cut(way: &mut watch::Receiver<Way>) -> io::Result<()> {
    way.wait_for(|way| *way == Way::Cut)
        .await
        .map(drop)
        .map_err(io::Error::other)
}

/// The writing end of a direction.
struct Outlet<'a> {
    to: OwnedWriteHalf,
    shared: &'a Shared,
}

impl Outlet<'_> {
    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut way = self.shared.way.subscribe();
        way.wait_for(|way| *way != Way::Hang)
            .await
            .map_err(io::Error::other)?;
        self.to.write_all(bytes).await
    }
}

/// One message with its head: a type, if it has one, and the length.
async fn message(from: &mut OwnedReadHalf, typed: bool) -> io::Result<Vec<u8>> {
    let head = 4 + usize::from(typed);
    let mut bytes = vec![0; head];
    from.read_exact(&mut bytes).await?;
    let length: [u8; 4] = bytes[head - 4..].try_into().unwrap();
    let rest = (u32::from_be_bytes(length) as usize).saturating_sub(4);
    bytes.resize(head + rest, 0);
    from.read_exact(&mut bytes[head..]).await?;
    Ok(bytes)
}

async fn answers(
    mut from: OwnedReadHalf,
    mut outlet: Outlet<'_>,
    loses_answer: &AtomicBool,
) -> io::Result<()> {
    let mut first = [0];
    // The server's refusal of TLS is a single letter without a length.
    from.peek(&mut first).await?;
    if first == *b"N" {
        from.read_exact(&mut first).await?;
        outlet.send(&first).await?;
    }
    loop {
        let bytes = message(&mut from, true).await?;
        let is_committed = bytes[0] == b'Z' && bytes[5] == b'I';
        if is_committed && loses_answer.load(Ordering::Acquire) {
            outlet.shared.sprung.send_modify(|sprung| *sprung += 1);
            return Ok(());
        }
        outlet.send(&bytes).await?;
    }
}

async fn questions(
    mut from: OwnedReadHalf,
    mut outlet: Outlet<'_>,
    loses_answer: &AtomicBool,
) -> io::Result<()> {
    loop {
        let start = message(&mut from, false).await?;
        let code = u32::from_be_bytes(start[4..8].try_into().unwrap());
        outlet.send(&start).await?;
        if code != SSL_REQUEST && code != GSS_REQUEST {
            break;
        }
    }
    let mut reader = Reader::default();
    loop {
        let bytes = message(&mut from, true).await?;
        if let Some(text) = reader.executes(&bytes) {
            let fall = reader.fall(&text, &outlet.shared.trap);
            match fall {
                Some(Moment::BeforeCommit) => {
                    outlet.shared.sprung.send_modify(|sprung| *sprung += 1);
                    return Ok(());
                }
                Some(Moment::AfterCommit) => loses_answer.store(true, Ordering::Release),
                None => {}
            }
        }
        outlet.send(&bytes).await?;
    }
}

/// What of one connection's questions is remembered.
#[derive(Default)]
struct Reader {
    statements: HashMap<String, String>,
    portals: HashMap<String, String>,
    in_transaction: bool,
    falls_at_commit: bool,
}

impl Reader {
    /// The text of the statement that this message has executed.
    fn executes(&mut self, bytes: &[u8]) -> Option<String> {
        let mut words = bytes[5..]
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned());
        match bytes[0] {
            b'P' => {
                self.statements.insert(words.next()?, words.next()?);
                None
            }
            b'B' => {
                let (portal, statement) = (words.next()?, words.next()?);
                let text = self.statements.get(&statement)?.clone();
                self.portals.insert(portal, text);
                None
            }
            b'E' => self.portals.get(&words.next()?).cloned(),
            b'Q' => words.next(),
            _ => None,
        }
    }

    /// Whether, and when, the connection falls over this statement.
    fn fall(&mut self, text: &str, trap: &Mutex<Option<Trap>>) -> Option<Moment> {
        let is = |word: &str| {
            text.get(..word.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(word))
        };
        if is("commit") || is("rollback") {
            self.in_transaction = false;
            return self.falls_at_commit.then_some(Moment::BeforeCommit);
        }
        self.in_transaction |= is("begin");
        let mut trap = trap.lock().unwrap();
        let sprung = trap.take_if(|trap| text.contains(trap.text))?;
        if sprung.moment == Moment::BeforeCommit && self.in_transaction {
            self.falls_at_commit = true;
            return None;
        }
        Some(sprung.moment)
    }
}
