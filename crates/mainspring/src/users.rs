//! `user hash-password|new-token`: what stands in the settings instead of a secret.
//!
//! Always: the password is read from standard input, so that it stands in no process list and no history.

use std::io::{self, BufRead as _, IsTerminal as _};

use anyhow::Context as _;
use net::{Passwords, Secret, TokenHash};

use crate::arguments::UserCommand;
use crate::call;
use crate::exit::{Exit, Misuse};
use crate::screen::Screen;

pub(crate) fn run(command: &UserCommand, screen: &Screen) -> anyhow::Result<Exit> {
    match command {
        UserCommand::HashPassword => call::talk(hash_password(screen)),
        UserCommand::NewToken => {
            let token = net::new_token();
            let hash = TokenHash::of(&token).to_string();
            if screen.json {
                screen.say_json(&serde_json::json!({"token": token.reveal(), "hash": hash}))?;
            } else {
                screen.say(&format!("token {}\nhash  {hash}", token.reveal()))?;
                screen.remark("the token goes to the user, the hash into the settings; nobody can tell the token from the hash");
            }
            Ok(Exit::Done)
        }
    }
}

async fn hash_password(screen: &Screen) -> anyhow::Result<Exit> {
    if io::stdin().is_terminal() {
        screen.remark("type the password and press Enter; it will be seen while you type, so better: read -s p; printf %s \"$p\" | mainspring user hash-password");
    }
    let mut password = String::new();
    io::stdin()
        .lock()
        .read_line(&mut password)
        .context("cannot read the password from standard input")?;
    let password = password.trim_end_matches(['\n', '\r']);
    if password.is_empty() {
        return Err(Misuse("the password is empty".to_owned()).into());
    }
    let hash = Passwords::default().hash(Secret::new(password)).await;
    if screen.json {
        screen.say_json(&serde_json::json!({"hash": hash}))?;
    } else {
        screen.say(&hash)?;
    }
    Ok(Exit::Done)
}
