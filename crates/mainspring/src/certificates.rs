//! `certs ca|issue`: a small private CA for those who have none.

use std::path::Path;

use net::Role;

use crate::arguments::CertsCommand;
use crate::exit::{Exit, Misuse};
use crate::screen::Screen;

pub(crate) fn run(command: CertsCommand, screen: &Screen) -> anyhow::Result<Exit> {
    match command {
        CertsCommand::Ca { dir, name } => {
            net::create_ca(&dir, &name)?;
            let files = [dir.join("ca.pem"), dir.join("ca.key")];
            say(&[("ca", &files[0]), ("key", &files[1])], screen)?;
            screen.remark("give ca.pem to every node; keep ca.key where no node can read it");
        }
        CertsCommand::Issue {
            ca_dir,
            name,
            role,
            addresses,
            out,
        } => {
            let role: Role = role.parse().map_err(Misuse)?;
            if addresses.is_empty() && role != Role::User {
                return Err(Misuse(format!(
                    "say with --for under which names and addresses the {role} is reached"
                ))
                .into());
            }
            let issued = net::issue(&ca_dir, &name, role, &addresses, &out)?;
            say(
                &[
                    ("ca", &issued.ca),
                    ("certificate", &issued.certificate),
                    ("key", &issued.key),
                ],
                screen,
            )?;
            let [ca, certificate, key] =
                [&issued.ca, &issued.certificate, &issued.key].map(|path| path.display());
            screen.remark(&format!(
                "use it with: --ca {ca} --certificate {certificate} --key {key}"
            ));
        }
    }
    Ok(Exit::Done)
}

fn say(files: &[(&str, &Path)], screen: &Screen) -> anyhow::Result<()> {
    if screen.json {
        let files: serde_json::Map<String, serde_json::Value> = files
            .iter()
            .map(|(name, path)| ((*name).to_owned(), path.display().to_string().into()))
            .collect();
        return screen.say_json(&files);
    }
    let lines: Vec<String> = files
        .iter()
        .map(|(name, path)| format!("{name:12} {}", path.display()))
        .collect();
    Ok(screen.say(&lines.join("\n"))?)
}
