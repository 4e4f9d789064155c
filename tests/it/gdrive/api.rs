//! What the fake of Google Drive answers: the v3 API as far as a backup needs it, and the faults that change an answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Response, StatusCode,
    body::Frame,
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, HOST, HeaderName, LOCATION, RANGE},
    http::request::Parts,
};
use serde_json::{Value, json};

use super::{
    fake::{CLIENT_SECRET, Fault, GRAIN, REFRESH_TOKEN, Seen, Trouble, Verb},
    logins::is_signed,
    shelf::{Query, Shelf},
};

pub(super) type Body = BoxBody<Bytes, io::Error>;

#[derive(Debug)]
struct Upload {
    /// The new file's folder and name, or the id of the file that gets new content.
    target: Result<(String, String), String>,
    bytes: Vec<u8>,
    done: Option<String>,
}

pub(crate) struct State {
    pub(crate) shelf: Shelf,
    uploads: BTreeMap<u64, Upload>,
    pub(super) faults: Vec<Fault>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) breaches: Vec<String>,
    pub(super) tokens: BTreeSet<String>,
    issued: u64,
    pub(crate) refused: u64,
    pub(crate) expires_in: u64,
    pub(crate) revoked: bool,
    /// The public key that service accounts' statements are checked with.
    pub(crate) service_key: Option<Vec<u8>>,
    page: usize,
    sessions: u64,
}

/// A request without its body.
pub(super) struct Call {
    method: Method,
    path: String,
    query: BTreeMap<String, String>,
    bearer: Option<String>,
    range: String,
    host: String,
    pub(super) length: u64,
}

impl Call {
    pub(super) fn of(head: &Parts) -> Self {
        let header = |name: HeaderName| {
            let value = head.headers.get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        let query = url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
        Self {
            method: head.method.clone(),
            path: head.uri.path().trim_matches('/').to_owned(),
            query: query.into_owned().collect(),
            bearer: header(AUTHORIZATION),
            range: header(CONTENT_RANGE).or(header(RANGE)).unwrap_or_default(),
            host: header(HOST).unwrap_or_default(),
            length: header(CONTENT_LENGTH).map_or(0, |length| length.parse().unwrap()),
        }
    }

    fn asks(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    pub(super) fn verb(&self) -> Verb {
        let parts: Vec<&str> = self.path.split('/').collect();
        match (self.method.as_str(), parts.as_slice()) {
            ("POST", ["token"]) => Verb::Token,
            ("GET", ["drive", "v3", "files"]) => Verb::Search,
            ("POST", ["drive", "v3", "files"]) => Verb::MakeFolder,
            ("GET", _) if self.asks("alt") == "media" => Verb::Read,
            ("GET", ["drive", "v3", "files", _]) => Verb::Look,
            ("DELETE" | "PATCH", ["drive", "v3", "files", _]) => Verb::Remove,
            ("POST" | "PATCH", ["upload", "drive", "v3", "files", ..]) => Verb::Open,
            ("DELETE", ["session", _]) => Verb::Cancel,
            ("PUT", ["session", _]) => {
                match self.range.trim_start_matches("bytes ").split_once('/') {
                    Some(("*", "*")) => Verb::Ask,
                    Some((_, "*")) => Verb::Piece,
                    _ => Verb::Finish,
                }
            }
            other => panic!("the fake knows no {other:?}"),
        }
    }

    fn id(&self) -> &str {
        self.path.rsplit('/').next().unwrap()
    }

    fn session(&self) -> u64 {
        self.id().parse().unwrap()
    }
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            shelf: Shelf::new(),
            uploads: BTreeMap::new(),
            faults: Vec::new(),
            seen: Vec::new(),
            breaches: Vec::new(),
            tokens: BTreeSet::new(),
            issued: 0,
            refused: 0,
            expires_in: 3600,
            revoked: false,
            service_key: None,
            page: 2,
            sessions: 0,
        }
    }

    /// Upload sessions that neither became a file nor were given up.
    pub(crate) fn orphans(&self) -> usize {
        let uploads = self.uploads.values();
        uploads.filter(|upload| upload.done.is_none()).count()
    }

    pub(super) fn admits(&self, call: &Call) -> bool {
        let token = call
            .bearer
            .as_deref()
            .and_then(|bearer| bearer.strip_prefix("Bearer "));
        token.is_some_and(|token| self.tokens.contains(token))
    }

    pub(super) fn next_trouble(&mut self, verb: Verb) -> Option<Trouble> {
        let fault = self
            .faults
            .iter_mut()
            .find(|fault| fault.verb == verb && fault.times > 0)?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.times -= 1;
        Some(fault.trouble)
    }

    fn breach(&mut self, what: impl Into<String>) -> Response<Body> {
        self.breaches.push(what.into());
        refusal(400, "badRequest")
    }

    pub(super) fn answer(
        &mut self,
        verb: Verb,
        call: &Call,
        body: Vec<u8>,
        trouble: Option<Trouble>,
    ) -> Response<Body> {
        let session = matches!(verb, Verb::Piece | Verb::Finish | Verb::Ask | Verb::Cancel);
        if verb != Verb::Token && !session && call.asks("supportsAllDrives") != "true" {
            return self.breach(format!("{verb:?} leaves out shared drives"));
        }
        match verb {
            Verb::Token => self.token(&body),
            Verb::Search => self.search(call, trouble),
            Verb::Look => self.resource(call.id()),
            Verb::Read => self.content(call, trouble),
            Verb::MakeFolder => self.make_folder(&body),
            Verb::Remove => self.remove(call),
            Verb::Open => self.open(call, &body),
            Verb::Piece | Verb::Finish => self.piece(verb, call, body, trouble),
            Verb::Ask => self.standing(call.session()),
            Verb::Cancel => match self.uploads.remove(&call.session()) {
                Some(Upload { done: None, .. }) => refusal(499, "clientClosedRequest"),
                _ => refusal(404, "notFound"),
            },
        }
    }

    fn token(&mut self, body: &[u8]) -> Response<Body> {
        let form: BTreeMap<String, String> =
            url::form_urlencoded::parse(body).into_owned().collect();
        let told = |name| form.get(name).map_or("", String::as_str);
        let consent = told("grant_type") == "refresh_token"
            && told("client_secret") == CLIENT_SECRET
            && told("refresh_token") == REFRESH_TOKEN;
        let signed = self
            .service_key
            .as_ref()
            .is_some_and(|key| is_signed(told("assertion"), key));
        if self.revoked || !(consent || signed) {
            // As talkative as a server can be.
            let error = json!({ "error": "invalid_grant", "error_description": form });
            return json_answer(StatusCode::BAD_REQUEST, &error);
        }
        self.issued += 1;
        let token = format!("access-token-hunter2-{}", self.issued);
        if self.expires_in == 0 {
            self.tokens.clear();
        }
        self.tokens.insert(token.clone());
        let answer =
            json!({ "access_token": token, "expires_in": self.expires_in, "token_type": "Bearer" });
        json_answer(StatusCode::OK, &answer)
    }

    fn search(&mut self, call: &Call, trouble: Option<Trouble>) -> Response<Body> {
        if call.asks("includeItemsFromAllDrives") != "true" {
            return self.breach("a search leaves out shared drives");
        }
        let Some(query) = Query::parse(call.asks("q")) else {
            return self.breach(format!("the fake can't read {}", call.asks("q")));
        };
        if self.shelf.get(&query.parent).is_none() {
            return refusal(404, "notFound");
        }
        let mut found = self.shelf.search(&query);
        if matches!(trouble, Some(Trouble::Blind)) {
            found.clear();
        }
        let from: usize = call.asks("pageToken").parse().unwrap_or(0);
        let more = found.len() > from + self.page;
        let page = found.into_iter().skip(from).take(self.page);
        let files: Vec<Value> = page.filter_map(|id| self.shelf.resource(id)).collect();
        let mut answer = json!({ "files": files, "incompleteSearch": false });
        if more {
            answer["nextPageToken"] = (from + self.page).to_string().into();
        }
        json_answer(StatusCode::OK, &answer)
    }

    fn resource(&self, id: &str) -> Response<Body> {
        match self.shelf.resource(id) {
            Some(resource) => json_answer(StatusCode::OK, &resource),
            None => refusal(404, "notFound"),
        }
    }

    fn content(&self, call: &Call, trouble: Option<Trouble>) -> Response<Body> {
        let Some(content) = self
            .shelf
            .get(call.id())
            .and_then(|file| file.content.as_ref())
        else {
            return refusal(404, "notFound");
        };
        let (from, to) = call
            .range
            .strip_prefix("bytes=")
            .unwrap()
            .split_once('-')
            .unwrap();
        let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
        if from >= content.len() {
            return refusal(416, "requestedRangeNotSatisfiable");
        }
        let piece = &content[from..content.len().min(to + 1)];
        let range = format!("bytes {from}-{}/{}", from + piece.len() - 1, content.len());
        let answer = Response::builder().status(206).header(CONTENT_RANGE, range);
        let half = Bytes::copy_from_slice(&piece[..piece.len() / 2]);
        match trouble {
            Some(Trouble::CutAnswer) => {
                let frames = [Ok(Frame::data(half)), Err(io::Error::other("cut"))];
                let body = StreamBody::new(stream::iter(frames)).boxed();
                answer
                    .header(CONTENT_LENGTH, piece.len())
                    .body(body)
                    .unwrap()
            }
            Some(Trouble::Short) => answer.body(full(half)).unwrap(),
            _ => answer.body(full(Bytes::copy_from_slice(piece))).unwrap(),
        }
    }

    fn make_folder(&mut self, body: &[u8]) -> Response<Body> {
        let folder: Value = serde_json::from_slice(body).unwrap();
        let parent = folder["parents"][0].as_str().unwrap();
        if self.shelf.get(parent).is_none() {
            return refusal(404, "notFound");
        }
        let id = self
            .shelf
            .add(parent, folder["name"].as_str().unwrap(), None);
        self.resource(&id)
    }

    fn remove(&mut self, call: &Call) -> Response<Body> {
        if call.method == Method::PATCH {
            return match self.shelf.get_mut(call.id()) {
                Some(file) => {
                    file.trashed = true;
                    self.resource(call.id())
                }
                None => refusal(404, "notFound"),
            };
        }
        if !self.shelf.remove(call.id()) {
            return refusal(404, "notFound");
        }
        let answer = Response::builder().status(204);
        answer.body(full(Bytes::new())).unwrap()
    }

    fn open(&mut self, call: &Call, body: &[u8]) -> Response<Body> {
        let file: Value = serde_json::from_slice(body).unwrap();
        let target = if call.method == Method::PATCH {
            Err(call.id().to_owned())
        } else {
            let parent = file["parents"][0].as_str().unwrap();
            Ok((parent.to_owned(), file["name"].as_str().unwrap().to_owned()))
        };
        let place = match &target {
            Ok((place, _)) | Err(place) => place,
        };
        if self.shelf.get(place).is_none() {
            return refusal(404, "notFound");
        }
        self.sessions += 1;
        let location = format!(
            "http://{}/session/{}?upload_id=session-hunter2",
            call.host, self.sessions
        );
        let upload = Upload {
            target,
            bytes: Vec::new(),
            done: None,
        };
        self.uploads.insert(self.sessions, upload);
        let answer = Response::builder().status(200).header(LOCATION, location);
        answer.body(full(Bytes::new())).unwrap()
    }

    fn piece(
        &mut self,
        verb: Verb,
        call: &Call,
        mut body: Vec<u8>,
        trouble: Option<Trouble>,
    ) -> Response<Body> {
        let session = call.session();
        let Some(upload) = self.uploads.get_mut(&session) else {
            return refusal(404, "notFound");
        };
        if upload.done.is_some() {
            return self.standing(session);
        }
        let (range, total) = call
            .range
            .strip_prefix("bytes ")
            .unwrap()
            .split_once('/')
            .unwrap();
        if let Some((from, to)) = range.split_once('-') {
            let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
            let held = upload.bytes.len() as u64;
            if from != held {
                return self.breach(format!(
                    "a piece begins at {from}, the session holds {held}"
                ));
            }
            if verb == Verb::Piece && (to + 1 - from) % GRAIN != 0 {
                return self.breach(format!("a piece has {} bytes", to + 1 - from));
            }
        }
        match trouble {
            Some(Trouble::Keep(grains)) => body.truncate(usize::try_from(grains * GRAIN).unwrap()),
            Some(Trouble::CutInside) => {
                body.truncate(body.len() - body.len() % usize::try_from(GRAIN).unwrap());
            }
            Some(Trouble::Garble) => body[0] ^= 1,
            _ => {}
        }
        upload.bytes.extend_from_slice(&body);
        if verb == Verb::Finish && total == upload.bytes.len().to_string() {
            self.finish(session, trouble);
        }
        self.standing(session)
    }

    fn finish(&mut self, session: u64, trouble: Option<Trouble>) {
        let upload = self.uploads.get_mut(&session).unwrap();
        let content = std::mem::take(&mut upload.bytes);
        let (parent, name) = match &upload.target {
            Err(id) => {
                self.shelf.rewrite(id, content);
                upload.done = Some(id.clone());
                return;
            }
            Ok(target) => target,
        };
        if matches!(trouble, Some(Trouble::OlderRival)) {
            self.shelf.add_older(parent, name, b"rival");
        }
        upload.done = Some(self.shelf.add(parent, name, Some(content)));
        if matches!(trouble, Some(Trouble::YoungerRival)) {
            self.shelf.add(parent, name, Some(b"rival".to_vec()));
        }
    }

    fn standing(&mut self, session: u64) -> Response<Body> {
        let Some(upload) = self.uploads.get(&session) else {
            return refusal(404, "notFound");
        };
        if let Some(id) = &upload.done {
            return self.resource(id);
        }
        let mut answer = Response::builder().status(308);
        if let Some(last) = upload.bytes.len().checked_sub(1) {
            answer = answer.header(RANGE, format!("bytes=0-{last}"));
        }
        answer.body(full(Bytes::new())).unwrap()
    }
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

fn json_answer(status: StatusCode, json: &Value) -> Response<Body> {
    let body = full(json.to_string().into());
    Response::builder().status(status).body(body).unwrap()
}

/// A refusal as Google words it, with a message that says too much.
pub(super) fn refusal(status: u16, reason: &str) -> Response<Body> {
    let message = format!("{CLIENT_SECRET} {REFRESH_TOKEN} access-token-hunter2");
    let error = json!({ "error": {
        "code": status,
        "message": message,
        "errors": [{ "domain": "global", "reason": reason, "message": message }],
    } });
    json_answer(StatusCode::from_u16(status).unwrap(), &error)
}
