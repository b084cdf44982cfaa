//! Turns a table of metrics and a [`Status`] into Prometheus text, a bounded number of series at a time.

use prometheus::{
    TextEncoder,
    proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType},
};

use crate::model::status::Status;

/// Series that are held as objects at a time; what is written as text already is much smaller.
const CHUNK_SERIES: usize = 1_024;

/// One metric.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    /// Counter or gauge.
    pub(super) kind: MetricType,
    pub(super) labels: &'static [&'static str],
    /// Adds every series of the metric.
    pub(super) collect: fn(&Status, &mut Samples<'_>),
}

/// The text of every family that has a series.
pub(super) fn render(families: &[Family], status: &Status) -> String {
    let mut text = String::new();
    for family in families {
        let mut samples = Samples { family, chunk: Vec::new(), head: 0, encoded: String::new(), text: &mut text };
        (family.collect)(status, &mut samples);
        samples.flush();
    }
    text
}

/// The series of one family on their way into the text.
pub(super) struct Samples<'a> {
    family: &'a Family,
    chunk: Vec<Metric>,
    /// Bytes of the HELP and TYPE lines once they are in the text, 0 before.
    head: usize,
    encoded: String,
    text: &'a mut String,
}

impl Samples<'_> {
    /// One series, with the values of the family's labels in their order.
    pub(super) fn add(&mut self, values: &[&str], value: f64) {
        debug_assert_eq!(values.len(), self.family.labels.len(), "{}", self.family.name);
        let labels = self.family.labels.iter().zip(values).map(|(name, value)| label(name, value)).collect();
        let mut metric = Metric::from_label(labels);
        if self.family.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.chunk.push(metric);
        if self.chunk.len() >= CHUNK_SERIES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.chunk.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(self.family.name.to_owned());
        family.set_help(self.family.help.to_owned());
        family.set_field_type(self.family.kind);
        family.set_metric(std::mem::take(&mut self.chunk));
        self.encoded.clear();
        TextEncoder::new()
            .encode_utf8(&[family], &mut self.encoded)
            .expect("a family with a name and a series can be written to a String");
        // The encoder puts the same HELP and TYPE lines before every chunk; they may stand there once only.
        self.text.push_str(&self.encoded[self.head..]);
        if self.head == 0 {
            self.head = self.encoded.match_indices('\n').nth(1).map_or(0, |(end, _)| end + 1);
        }
    }
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}
