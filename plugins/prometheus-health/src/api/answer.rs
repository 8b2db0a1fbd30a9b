//! The envelope of every answer, and the four shapes of data in it.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// The labels of a series.
pub type Label = BTreeMap<String, String>;

#[derive(Debug, Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
pub(super) struct Envelope<T> {
    status: String,
    #[serde(default = "none")]
    data: Option<T>,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

fn none<T>() -> Option<T> {
    None
}

/// A complete answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<T> {
    /// What was asked for.
    pub data: T,
    /// Why it may be incomplete.
    pub warnings: Vec<String>,
    /// What else the server remarks.
    pub infos: Vec<String>,
}

/// The data of a query.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub enum Data {
    /// One point per series.
    Vector(Vec<Sampled>),
    /// Many points per series.
    Matrix(Vec<Sampled>),
    /// One point without labels.
    Scalar(Point),
    /// A text.
    String((f64, String)),
}

/// One series.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Sampled {
    /// Its labels.
    #[serde(default)]
    pub metric: Label,
    /// Of a vector.
    #[serde(default)]
    pub value: Option<Point>,
    /// Of a matrix.
    #[serde(default)]
    pub values: Vec<Point>,
    /// A native histogram instead of a number.
    #[serde(default)]
    pub histogram: Option<IgnoredHistogram>,
    /// Native histograms instead of numbers.
    #[serde(default)]
    pub histograms: Option<IgnoredHistogram>,
}

/// A native histogram, which this plugin does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IgnoredHistogram;

impl<'de> Deserialize<'de> for IgnoredHistogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// A moment in milliseconds since the epoch, and a value, which may be NaN or infinite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub at_ms: u64,
    /// How much.
    pub value: f64,
}

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (seconds, text) = <(f64, String)>::deserialize(deserializer)?;
        let value =
            text.parse().map_err(|_| serde::de::Error::custom("a value is not a number"))?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "times since the epoch fit, and the cast saturates"
        )]
        let at_ms = (seconds * 1000.0).round() as u64;
        Ok(Self { at_ms, value })
    }
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<Envelope<T>, serde_json::Error> {
    serde_json::from_slice(body)
}

impl<T> Envelope<T> {
    pub(super) fn is_success(&self) -> bool {
        self.status == "success"
    }

    pub(super) fn complete(self) -> Option<Answer<T>> {
        let Envelope { data, warnings, infos, .. } = self;
        data.map(|data| Answer { data, warnings, infos })
    }

    /// The server's own word for the kind of error, where it has one.
    pub(super) fn error_type(&self) -> Option<String> {
        Some(self.error_type.clone()).filter(|word| !word.is_empty())
    }

    pub(super) fn complaint(&self) -> String {
        let kind = if self.error_type.is_empty() { &self.status } else { &self.error_type };
        format!("{kind}: {}", super::quoted(&self.error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_as_texts_and_times_as_fractions_of_seconds() {
        let body = br#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[1700000000.123,"NaN"],[1700000001,"+Inf"],[1700000002,"1e+06"]]}]},"warnings":["w"]}"#;
        let answer = read::<Data>(body).unwrap().complete().unwrap();
        let Data::Matrix(series) = answer.data else { panic!("{answer:?}") };
        let points: Vec<(u64, String)> =
            series[0].values.iter().map(|point| (point.at_ms, point.value.to_string())).collect();
        assert_eq!(
            points,
            [
                (1_700_000_000_123, "NaN".to_owned()),
                (1_700_000_001_000, "inf".to_owned()),
                (1_700_000_002_000, "1000000".to_owned())
            ]
        );
        assert_eq!(answer.warnings, ["w"]);
    }

    #[test]
    fn all_four_shapes_are_read() {
        let shape = |data: &str| {
            read::<Data>(format!(r#"{{"status":"success","data":{data}}}"#).as_bytes())
                .unwrap()
                .complete()
                .unwrap()
                .data
        };
        assert!(matches!(
            shape(r#"{"resultType":"vector","result":[{"metric":{},"value":[1,"2"]}]}"#),
            Data::Vector(_)
        ));
        assert!(
            matches!(shape(r#"{"resultType":"scalar","result":[1.5,"-Inf"]}"#), Data::Scalar(point) if point.value == f64::NEG_INFINITY)
        );
        assert!(matches!(shape(r#"{"resultType":"string","result":[1,"x"]}"#), Data::String(_)));
        let histogram = shape(
            r#"{"resultType":"vector","result":[{"metric":{},"histogram":[1,{"count":"3","sum":"2","buckets":[]}]}]}"#,
        );
        assert!(matches!(histogram, Data::Vector(series) if series[0].histogram.is_some()));
    }
}
