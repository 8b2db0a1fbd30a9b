//! Bytes that are written down as text where they are text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of an effect or an answer. In JSON a string where they are UTF-8, else
/// `{"base64": "…"}`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blob(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Text(String),
    Encoded { base64: String },
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Form::Encoded { base64: STANDARD.encode(&self.0) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Ok(Self(text.into_bytes())),
            Form::Encoded { base64 } => STANDARD.decode(base64).map(Self).map_err(D::Error::custom),
        }
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_and_read_alike_as_text_where_they_are_text() {
        for (bytes, written) in
            [("{\"a\": 1}\n".into(), r#""{\"a\": 1}\n""#), (vec![0xff, 0], r#"{"base64":"/wA="}"#)]
        {
            let blob = Blob(bytes);
            assert_eq!(serde_json::to_string(&blob).unwrap(), written);
            assert_eq!(serde_json::from_str::<Blob>(written).unwrap(), blob);
        }
    }
}
