//! `config show`: the settings in force, secrets masked.

use serde_json::json;

use crate::{exit::Exit, output::Table, session::Session};

pub fn show(with_origin: bool, session: &Session) -> Exit {
    let effective = &session.config.effective;
    let document: Vec<_> = effective
        .iter()
        .map(
            |e| json!({ "name": e.setting.name, "value": e.shown, "origin": e.origin.to_string() }),
        )
        .collect();
    session.out.document("settings", &document, || {
        let columns: &[&str] = if with_origin {
            &["NAME", "VALUE", "ORIGIN"]
        } else {
            &["NAME", "VALUE"]
        };
        let mut table = Table::new(columns);
        for e in effective {
            let value = e.shown.clone().unwrap_or_else(|| "–".to_owned());
            let mut cells = vec![e.setting.name.to_owned(), value];
            if with_origin {
                cells.push(e.origin.to_string());
            }
            table.row(cells);
        }
        table.text()
    });
    Exit::Done
}
