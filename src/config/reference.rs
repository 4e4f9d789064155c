//! The table of settings as documentation.

use std::fmt::Write;

use super::{
    setting::{Fallback, Setting},
    settings::SETTINGS,
};

/// All settings as Markdown tables, one per section of the configuration file.
pub fn reference() -> String {
    let mut text = String::new();
    let mut section = None;
    for setting in SETTINGS {
        let of = setting
            .key
            .and_then(|key| key.split_once('.'))
            .map(|(section, _)| section);
        if section != Some(of) {
            section = Some(of);
            head(&mut text, of);
        }
        row(&mut text, setting);
    }
    text
}

// Writing to a `String` can't fail, hence the ignored results.
fn head(text: &mut String, section: Option<&str>) {
    let title = section.map_or_else(
        || "The file itself".to_owned(),
        |section| format!("`[{section}]`"),
    );
    let _ = write!(
        text,
        "\n### {title}\n\n| Variable | In the file | Value | Default | Meaning |\n|---|---|---|---|---|\n"
    );
}

fn row(text: &mut String, setting: &Setting) {
    let secret = if setting.is_secret() {
        ", or `…_FILE`"
    } else {
        ""
    };
    let key = setting
        .key
        .and_then(|key| key.split_once('.'))
        .map_or_else(|| "–".to_owned(), |(_, word)| format!("`{word}`"));
    let default = match &setting.default {
        Fallback::None => "–".to_owned(),
        Fallback::Computed(how) => (*how).to_owned(),
        Fallback::Text(_) | Fallback::List(_) => {
            format!("`{}`", setting.default_text().unwrap_or_default())
        }
    };
    let _ = writeln!(
        text,
        "| `{}`{secret} | {key} | {} | {default} | {} |",
        setting.name, setting.form, setting.meaning
    );
}
