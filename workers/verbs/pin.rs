//! `pin` and `unpin`: no policy lets a pinned backup go.

use kanbu_backup::{catalog, fault::Failure};
use serde_json::json;

use super::list;
use crate::{cli::Pin, exit::Exit, session::Session};

pub async fn run(args: &Pin, pins: bool, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let mut ids = Vec::new();
    for id in &args.ids {
        ids.push(list::meant(id, None, &db).await?.id);
    }
    let (word, would) = if pins {
        ("pinned", "pin")
    } else {
        ("unpinned", "unpin")
    };
    let names: Vec<_> = ids.iter().map(|id| id.short()).collect();
    if args.dry_run {
        let text = format!("would {would} {}", names.join(", "));
        session.out.document("plan", &ids, || text);
        return Ok(Exit::Done);
    }
    for id in &ids {
        if pins {
            catalog::pin(&db, *id).await?;
        } else {
            catalog::unpin(&db, *id).await?;
        }
    }
    let text = format!("{word} {}", names.join(", "));
    session.out.result(json!({ word: ids }), &text);
    Ok(Exit::Done)
}
