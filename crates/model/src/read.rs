//! Reads what people write: workflows and other items in JSON or YAML, in the author dialect, with the engine's names as
//! aliases. Every fault of a text is reported, with its path, its line and the nearest known name.
