// SPDX-License-Identifier: GPL-2.0
//! The plugin's arguments, as
//! `-plugin FILE,symbols=System.map,out=FILE,stacks=on,operations=on` gives them.

use std::path::PathBuf;

use crate::error::Error;

/// What the plugin is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The System.map of the kernel, which must run where it is linked (nokaslr).
    pub symbols: PathBuf,
    /// Where the record goes.
    pub out: PathBuf,
    /// Whether to record from where TLBI, DSB and other events come.
    pub stacks: bool,
    /// Whether to follow [`crate::track::OPERATIONS`], too.
    pub operations: bool,
}

impl Arguments {
    /// Parses arguments of the form `KEY=VALUE`.
    pub fn parse<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>) -> Result<Self, Error> {
        let (mut symbols, mut out) = (None, None);
        let (mut stacks, mut operations) = (false, false);
        for argument in arguments {
            let argument = argument.as_ref();
            let wrong = |problem| Error::Argument {
                argument: argument.to_owned(),
                problem,
            };
            let (key, value) = argument
                .split_once('=')
                .ok_or_else(|| wrong("it has no value"))?;
            if value.is_empty() {
                return Err(wrong("its value is empty"));
            }
            match (key, value) {
                ("symbols", file) => symbols = Some(file.into()),
                ("out", file) => out = Some(file.into()),
                ("stacks", value) => stacks = switch(value).ok_or_else(|| wrong(NO_SWITCH))?,
                ("operations", value) => {
                    operations = switch(value).ok_or_else(|| wrong(NO_SWITCH))?;
                }
                _ => return Err(wrong("there is no such argument")),
            }
        }
        let missing = |argument: &str| Error::Argument {
            argument: argument.to_owned(),
            problem: "it is missing",
        };
        Ok(Self {
            symbols: symbols.ok_or_else(|| missing("symbols"))?,
            out: out.ok_or_else(|| missing("out"))?,
            stacks,
            operations,
        })
    }
}

/// What is wrong with a value that [`switch`] does not know.
const NO_SWITCH: &str = "it is neither on nor off";

fn switch(value: &str) -> Option<bool> {
    match value {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_arguments() {
        let parsed = Arguments::parse(["symbols=/a=b/System.map", "out=c.json", "stacks=on"]);
        let wanted = Arguments {
            symbols: "/a=b/System.map".into(),
            out: "c.json".into(),
            stacks: true,
            operations: false,
        };
        assert_eq!(parsed.expect("good"), wanted);
    }

    #[test]
    fn bad_arguments_are_named() {
        let cases = [
            (vec![], "`symbols`: it is missing"),
            (vec!["symbols=a"], "`out`: it is missing"),
            (vec!["symbols"], "`symbols`: it has no value"),
            (vec!["out="], "`out=`: its value is empty"),
            (vec!["stacks=1"], "`stacks=1`: it is neither on nor off"),
            (
                vec!["operations=yes"],
                "`operations=yes`: it is neither on nor off",
            ),
            (vec!["stack=on"], "`stack=on`: there is no such argument"),
        ];
        for (arguments, wanted) in cases {
            let error = Arguments::parse(arguments).expect_err(wanted).to_string();
            assert!(error.contains(wanted), "{error}");
            assert!(error.contains("remedy: "), "{error}");
        }
    }
}
