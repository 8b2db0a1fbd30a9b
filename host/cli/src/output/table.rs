//! Tables for people.

use comfy_table::Table;
use comfy_table::presets::NOTHING;

/// Lines up columns under a heading, without any frame, so that `awk` and `cut` can read them.
pub(crate) fn table(heading: &[&str], rows: Vec<Vec<String>>) -> Vec<String> {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(heading).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}
