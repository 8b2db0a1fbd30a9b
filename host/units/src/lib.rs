//! Quantities as people write them: `1m30s`, `64MiB`, `0.25%`.
//!
//! One dialect for the manifest, the command line, the requests of plugins and their settings.
//!
//! Invariants: what is written reads back as the same value; what a schema's pattern refuses is
//! refused here; a misreading says what was expected.

mod misread;
mod share;
mod size;
mod span;

pub use misread::Misread;
pub use share::Share;
pub use size::Size;
pub use span::{Span, for_people};

/// Reads and writes a quantity as text in serialised forms, with its name and pattern in schemas.
macro_rules! as_text {
    ($quantity:ident, $form:literal, $pattern:expr) => {
        impl TryFrom<String> for $quantity {
            type Error = $crate::Misread;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$quantity> for String {
            fn from(quantity: $quantity) -> Self {
                quantity.to_string()
            }
        }

        impl schemars::JsonSchema for $quantity {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                $form.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "x-form": $form, "pattern": $pattern })
            }
        }
    };
}
use as_text;
