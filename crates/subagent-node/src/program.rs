//! Which file a planned program is.

use crate::shortage::NotStarted;
use process::{ScriptCommand, ScriptFiles};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use subagent::PlannedProgram;

/// Finds programs.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) executables: PathBuf,
    pub(crate) search: Vec<PathBuf>,
}

/// A program with its arguments.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<OsString>,
}

impl Programs {
    pub(crate) fn find(
        &self,
        planned: &PlannedProgram,
        scripts: &ScriptFiles,
    ) -> Result<Program, NotStarted> {
        match planned {
            PlannedProgram::Script(script) => {
                let ScriptCommand { program, args } = scripts
                    .command(script)
                    .map_err(|error| NotStarted::of("the script cannot be written", &error))?;
                Ok(Program {
                    path: program,
                    args,
                })
            }
            PlannedProgram::File(path) => Ok(Program {
                path: self.file(path).map_err(NotStarted::fault)?,
                args: Vec::new(),
            }),
            PlannedProgram::Command(words) => {
                let (first, rest) = words
                    .split_first()
                    .ok_or_else(|| NotStarted::fault("the command line is empty"))?;
                let path = self.command(Path::new(first)).map_err(NotStarted::fault)?;
                Ok(Program {
                    path,
                    args: rest.iter().map(OsString::from).collect(),
                })
            }
        }
    }

    /// A relative name is looked for in the executables folder and must stay in it.
    fn file(&self, path: &Path) -> Result<PathBuf, String> {
        if path.is_absolute() {
            return Ok(path.to_owned());
        }
        let is_plain = |part: Component<'_>| match part {
            Component::Normal(name) => {
                let name = name.to_string_lossy();
                !name.starts_with('.') && name.trim() == name
            }
            Component::Prefix(_)
            | Component::RootDir
            | Component::CurDir
            | Component::ParentDir => false,
        };
        if path.as_os_str().is_empty() || !path.components().all(is_plain) {
            return Err(format!(
                "{:?} is not a path in the executables folder: no '..', no '.', no hidden names, no blanks at the ends",
                path.display().to_string()
            ));
        }
        Ok(self.executables.join(path))
    }

    /// A bare name is looked for in PATH, as a shell does.
    fn command(&self, name: &Path) -> Result<PathBuf, String> {
        if name.components().count() != 1 || name.is_absolute() {
            return self.file(name);
        }
        let found = self
            .search
            .iter()
            .map(|dir| dir.join(name))
            .find(|path| path.is_file());
        found.ok_or_else(|| {
            format!(
                "{} cannot be started: it is in no directory of PATH",
                name.display()
            )
        })
    }
}
