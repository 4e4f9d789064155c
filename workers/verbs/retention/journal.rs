//! `retention log`: the journal of deletions.

use kanbu_backup::{
    bytes::ByteSize,
    catalog::{self, Deleted, Fate},
    fault::Failure,
    job::Subject,
};

use crate::{exit::Exit, output::Table, session::Session, verbs::list};

pub(super) async fn run(
    subject: Option<&Subject>,
    limit: u32,
    session: &Session,
) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let deleted = catalog::journal(&db, subject, limit).await?;
    session
        .out
        .document("deletions", &deleted, || table(&deleted));
    Ok(Exit::Done)
}

fn table(deleted: &[Deleted]) -> String {
    if deleted.is_empty() {
        return "nothing was deleted".to_owned();
    }
    let columns = [
        "DELETED", "ID", "SUBJECT", "MADE", "SIZE", "BY", "WHY", "STILL ON",
    ];
    let mut table = Table::new(&columns).right(4);
    for entry in deleted {
        table.row([
            list::local(entry.decided_at),
            entry.id.short(),
            entry.subject.to_string(),
            list::local(entry.created_at),
            ByteSize(entry.stored_bytes).to_string(),
            entry.by.clone(),
            entry.reason.clone(),
            remains(&entry.fate),
        ]);
    }
    table.text()
}

fn remains(fate: &Fate) -> String {
    match fate {
        Fate::Deleted => String::new(),
        Fate::Pending { on, error } => {
            let names: Vec<_> = on.iter().map(ToString::to_string).collect();
            let error = error.as_ref();
            let error = error.map_or(String::new(), |error| format!(" ({error})"));
            format!("{}{error}", names.join(", "))
        }
    }
}
