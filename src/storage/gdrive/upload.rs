//! An object on its way: parts are queued in the order of their calls, whoever waits for one sends those before it too, and
//! the file appears at completion, or not at all.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{MultipartUpload, PutPayload, PutResult, UploadPart, path::Path};

use super::{
    DriveError,
    files::File,
    line::Line,
    session::{Session, Target},
    tree::Tree,
};

/// Writes a small object in one piece. `over` is the file that gets the content, instead of a new one.
pub(super) async fn write(
    tree: &Tree,
    path: &Path,
    over: Option<File>,
    payload: &PutPayload,
) -> Result<File, DriveError> {
    let draft = Draft::begin(tree, path, over).await?;
    let last: Vec<Bytes> = payload.iter().cloned().collect();
    draft.publish(tree, &mut Line::new(), &last).await
}

/// A file that isn't there yet.
#[derive(Debug)]
struct Draft {
    path: Path,
    /// None for new content of an old file.
    parent: Option<String>,
    session: Session,
}

impl Draft {
    async fn begin(tree: &Tree, path: &Path, over: Option<File>) -> Result<Self, DriveError> {
        match Self::open(tree, path, over.as_ref()).await {
            // A remembered folder is no more.
            Err(error) if error.is_missing() => {
                tree.forget(path);
                let opened = Self::open(tree, path, over.as_ref()).await;
                opened.map_err(|error| {
                    if error.is_missing() {
                        DriveError::Gone
                    } else {
                        error
                    }
                })
            }
            done => done,
        }
    }

    async fn open(tree: &Tree, path: &Path, over: Option<&File>) -> Result<Self, DriveError> {
        let client = &tree.files.client;
        let (parent, session) = if let Some(File { id, .. }) = over {
            (None, Session::open(client, Target::Content { id }).await?)
        } else {
            let name = path.filename().unwrap_or_default();
            let parent = tree.parent_of(path).await?;
            let target = Target::New {
                parent: &parent,
                name,
            };
            let session = Session::open(client, target).await?;
            (Some(parent), session)
        };
        let path = path.clone();
        Ok(Self {
            path,
            parent,
            session,
        })
    }

    /// Ends the upload with its last bytes. The file stays only if it is whole, and the only one of its name.
    async fn publish(
        &self,
        tree: &Tree,
        line: &mut Line,
        last: &[Bytes],
    ) -> Result<File, DriveError> {
        let client = &tree.files.client;
        let file = match line.finish(client, &self.session, last).await {
            Ok(file) => file,
            Err(error) => {
                self.session.give_up(client).await;
                return Err(error);
            }
        };
        if let Err(error) = line.check(&file, last).await {
            tree.files.remove(&file.id).await?;
            tree.forget_object(&self.path);
            return Err(error);
        }
        match &self.parent {
            Some(parent) => tree.settle(&self.path, parent, file).await,
            None => Ok(file),
        }
    }
}

/// An upload in parts.
#[derive(Clone, Debug)]
pub(super) struct DriveUpload(Arc<Inner>);

struct Inner {
    tree: Arc<Tree>,
    draft: Draft,
    /// Parts that Google doesn't hold yet, the oldest first. It stays until it is held: its sender may be given up.
    queue: Mutex<Queue>,
    sending: tokio::sync::Mutex<Sending>,
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    parts: VecDeque<PutPayload>,
    /// Of all parts that ever came.
    count: u64,
}

#[derive(Debug)]
struct Sending {
    line: Line,
    /// Parts that Google holds, but for what fills no grain.
    sent: u64,
    failed: bool,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "upload of {}", self.draft.path)
    }
}

impl DriveUpload {
    pub(super) async fn begin(tree: Arc<Tree>, path: &Path) -> Result<Self, DriveError> {
        Ok(Self(Arc::new(Inner {
            draft: Draft::begin(&tree, path, None).await?,
            tree,
            queue: Mutex::default(),
            sending: tokio::sync::Mutex::new(Sending {
                line: Line::new(),
                sent: 0,
                failed: false,
            }),
            ended: AtomicBool::new(false),
        })))
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends parts until `count` of them are held.
    async fn send_until(&self, count: u64, sending: &mut Sending) -> Result<(), DriveError> {
        while sending.sent < count {
            let part = self.queue().parts.front().cloned();
            let part = part.filter(|_| !sending.failed && !self.ended.load(Ordering::Acquire));
            let part: Vec<Bytes> = part.ok_or(DriveError::Ended)?.iter().cloned().collect();
            let (client, session) = (&self.tree.files.client, &self.draft.session);
            let pushed = sending.line.push(client, session, &part).await;
            sending.failed = pushed.is_err();
            pushed?;
            self.queue().parts.pop_front();
            sending.sent += 1;
        }
        Ok(())
    }

    async fn complete(&self) -> Result<File, DriveError> {
        let mut sending = self.sending.lock().await;
        let count = self.queue().count;
        if let Err(error) = self.send_until(count, &mut sending).await {
            self.draft.session.give_up(&self.tree.files.client).await;
            return Err(error);
        }
        if self.ended.swap(true, Ordering::AcqRel) {
            return Err(DriveError::Ended);
        }
        self.draft.publish(&self.tree, &mut sending.line, &[]).await
    }

    fn error(&self, error: DriveError) -> object_store::Error {
        error.into_store(&self.draft.path)
    }
}

#[async_trait]
impl MultipartUpload for DriveUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let inner = Arc::clone(&self.0);
        let count = {
            let mut queue = inner.queue();
            queue.parts.push_back(data);
            queue.count += 1;
            queue.count
        };
        Box::pin(async move {
            let mut sending = inner.sending.lock().await;
            let sent = inner.send_until(count, &mut sending).await;
            sent.map_err(|error| inner.error(error))
        })
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        let file = self.0.complete().await;
        file.map(Into::into).map_err(|error| self.0.error(error))
    }

    /// Doesn't wait for a part that hangs: the session's end is its end too.
    async fn abort(&mut self) -> object_store::Result<()> {
        self.0.ended.store(true, Ordering::Release);
        self.0.queue().parts.clear();
        let (tree, draft) = (&self.0.tree, &self.0.draft);
        let cancelled = draft.session.cancel(&tree.files.client).await;
        cancelled.map_err(|error| self.0.error(error))?;
        let removed = tree.remove_if_empty(&draft.path).await;
        removed.map_err(|error| self.0.error(error))
    }
}
