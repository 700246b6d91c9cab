//! `options [WORD]`: the NixOS options that machines have here.

use std::ffi::OsString;
use std::io::Write;
use std::sync::Arc;

use nbv_realise::{OptionRecord, Subject, option_records};

use crate::args::Build;
use crate::build::{self, fail};
use crate::exit::Exit;
use crate::help;

/// Shows options: with a whole name all about it, else one line for each whose name has the word.
pub(crate) fn show(words: &[OsString]) -> Exit {
    let mut word = None;
    for text in words.iter().map(|word| word.to_string_lossy()) {
        match text.as_ref() {
            "-h" | "--help" => {
                help::show_command("options");
                return Exit::Done;
            }
            flag if flag.starts_with('-') => return fail(&format!("unknown flag `{flag}`; try `nixos-build-vms options --help`"), Exit::Usage),
            _ if word.is_some() => return fail("one word at most: nixos-build-vms options [WORD]", Exit::Usage),
            name => word = Some(name.to_owned()),
        }
    }
    let flags = Build::default();
    let options = match build::settings(&flags).and_then(|settings| build::options(&flags, Subject::Network, &settings).map_err(|text| fail(&text, Exit::Input))) {
        Ok(options) => options,
        Err(exit) => return exit,
    };
    let progress: Arc<dyn nbv_store::Progress> = Arc::new(nbv_store::Quiet);
    let records = match option_records(&options, &progress) {
        Ok(records) => records,
        Err(error) => return build::show(&error, &build::style(false)),
    };
    let word = word.unwrap_or_default();
    let mut out = std::io::stdout().lock();
    let text = match records.iter().find(|record| record.name == word) {
        Some(record) => whole(record),
        None => records.iter().filter(|record| record.name.contains(&word)).map(line).collect(),
    };
    if text.is_empty() {
        let near = crate::args::nearest(&word, records.iter().map(|record| record.name.as_str()));
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        return fail(&format!("no option has `{word}` in its name{hint}"), Exit::Input);
    }
    let _closed = out.write_all(text.as_bytes());
    Exit::Done
}

fn line(record: &OptionRecord) -> String {
    let about = record.description.split("\n\n").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{:<48} {about}\n", record.name)
}

fn whole(record: &OptionRecord) -> String {
    let mut text = format!("{}\n\n", record.name);
    for paragraph in record.description.trim().lines() {
        text.push_str(&format!("  {paragraph}\n"));
    }
    text.push_str(&format!("\n  type:     {}{}\n", record.kind, if record.read_only { " (read only)" } else { "" }));
    for (title, value) in [("default:", &record.default), ("example:", &record.example)] {
        if let Some(value) = value {
            text.push_str(&format!("  {title:<9} {value}\n"));
        }
    }
    for place in &record.declarations {
        text.push_str(&format!("  declared: {place}\n"));
    }
    text
}
