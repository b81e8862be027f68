//! Sum types that carry their name in the field `TYPE`.
//!
//! Always: reading goes through the raw text, so numbers inside keep every digit and a big value is not copied twice. Serde's
//! own internally tagged enums buffer their content and would round numbers to 64 bits.

/// Reads the field `TYPE` of a JSON object and nothing else.
#[derive(serde::Deserialize)]
pub(crate) struct TypeOnly<'a> {
    #[serde(rename = "TYPE", borrow)]
    pub(crate) tag: std::borrow::Cow<'a, str>,
}

/// How deep objects and lists may be nested in a text: values have a smaller bound of their own.
const NESTING_MAX: usize = 200;

/// Refuses a text that is nested too deeply. Each level of tagged objects is a reading of its own, so that the bound of
/// the JSON reader does not count, and a hostile text could exhaust the stack.
pub(crate) fn check_nesting(text: &str) -> Result<(), serde_json::Error> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                if depth > NESTING_MAX {
                    let message = format!("nested deeper than {NESTING_MAX} levels");
                    return Err(serde::de::Error::custom(message));
                }
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Other spellings of fields that are read.
const ALIASES: &[(&str, &str)] = &[("historicOperations", "historyOperations")];

/// Refuses a field that is none of `fields`: what somebody has asked for must not be left out silently.
pub(crate) fn check_fields(text: &str, fields: &[&str]) -> Result<(), serde_json::Error> {
    type Keys<'a> = std::collections::BTreeMap<String, &'a serde_json::value::RawValue>;
    let known: Vec<String> = fields.iter().map(|field| in_camel_case(field)).collect();
    for key in serde_json::from_str::<Keys<'_>>(text)?.into_keys() {
        let alias = ALIASES.iter().find(|(alias, _)| **alias == *key);
        let name = alias.map_or(key.as_str(), |(_, name)| name);
        if name != "TYPE" && !known.iter().any(|field| field == name) {
            let message = match known.as_slice() {
                [] => format!("unknown field \"{key}\": there are none here"),
                known => format!("unknown field \"{key}\": known are {}", known.join(", ")),
            };
            return Err(serde::de::Error::custom(message));
        }
    }
    Ok(())
}

fn in_camel_case(field: &str) -> String {
    let mut words = field.split('_');
    let mut text = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(word.len().min(1));
        text.push_str(&first.to_ascii_uppercase());
        text.push_str(rest);
    }
    text
}

/// The plain name of a Rust type or variant without `r#`. An enum with `@closed` before it takes no field that its variant does not have.
macro_rules! tagged {
    (@tag $variant:ident) => { stringify!($variant) };
    (@tag $variant:ident $tag:literal) => { $tag };
    (
        $(#[$meta:meta])*
        $(@$closed:ident)?
        pub enum $name:ident {
            $(
                $(#[doc = $doc:literal])*
                $(#[tag($tag:literal)])?
                $variant:ident $( {
                    $( $(#[$field_meta:meta])* $field:ident : $ty:ty ),* $(,)?
                } )?
            ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        #[serde(tag = "TYPE", rename_all_fields = "camelCase")]
        pub enum $name {
            $(
                $(#[doc = $doc])*
                #[doc = concat!("\n\nWritten with the `TYPE` `", tagged!(@tag $variant $($tag)?), "`.")]
                $(#[serde(rename = $tag)])?
                $variant $( {
                    $(
                        $(#[$field_meta])*
                        #[doc = concat!("The field `", stringify!($field), "`, in JSON in camel case.")]
                        $field : $ty
                    ),*
                } )?
            ),*
        }

        impl $name {
            /// The names that the field `TYPE` may have here.
            pub const TYPES: &'static [&'static str] = &[ $( tagged!(@tag $variant $($tag)?) ),* ];

            /// The name in the field `TYPE`.
            pub fn type_name(&self) -> &'static str {
                match self {
                    $( Self::$variant { .. } => tagged!(@tag $variant $($tag)?), )*
                }
            }

            /// Reads the variant called `tag` from the text of a JSON object.
            pub(crate) fn read_variant(tag: &str, text: &str) -> Option<Result<Self, serde_json::Error>> {
                match tag {
                    $(
                        tagged!(@tag $variant $($tag)?) => {
                            #[derive(serde::Deserialize)]
                            #[serde(rename_all = "camelCase")]
                            struct Fields { $( $( $(#[$field_meta])* $field : $ty ),* )? }
                            Some(serde_json::from_str::<Fields>(text).map(|_fields| Self::$variant $( { $( $field : _fields.$field ),* } )?))
                        }
                    )*
                    _ => None,
                }
            }

            /// The fields of a variant, in Rust's spelling.
            pub fn fields_of(tag: &str) -> &'static [&'static str] {
                match tag {
                    $( tagged!(@tag $variant $($tag)?) => &[ $( $( stringify!($field) ),* )? ], )*
                    _ => &[],
                }
            }

            /// Reads the variant that the field `TYPE` of `text` names.
            pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
                const CLOSED: &[&str] = &[ $( stringify!($closed) )? ];
                $crate::tagged::check_nesting(text)?;
                let tag: $crate::tagged::TypeOnly<'_> = serde_json::from_str(text)?;
                // Only the fields of a known type can be checked.
                if !CLOSED.is_empty() && Self::TYPES.contains(&&*tag.tag) {
                    $crate::tagged::check_fields(text, Self::fields_of(&tag.tag))?;
                }
                Self::read_variant(&tag.tag, text).unwrap_or_else(|| {
                    Err(serde::de::Error::custom(format!(
                        "unknown TYPE {:?}, expected one of {}",
                        tag.tag,
                        Self::TYPES.join(", ")
                    )))
                })
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
                Self::from_json(raw.get()).map_err(serde::de::Error::custom)
            }
        }
    };
}
