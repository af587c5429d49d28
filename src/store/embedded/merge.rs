//! Merging segments of one group into one, a record batch at a time: memory does not grow with history.

use super::{
    medium::Medium,
    segment::Segment,
    segment_writer::{BATCH_ROWS_LOG2, Layout, Rows, SegmentWriter},
    storage_error,
};
use crate::{
    feature::{Column, RowSchema},
    store::Result,
};
use arrow::{
    array::{
        Array, ArrayData, BooleanBufferBuilder, MutableArrayData, StringArray, StringBuilder, make_array,
    },
    buffer::BooleanBuffer,
    error::ArrowError,
};
use std::{ops::Range, sync::Arc};

/// Rows of one input that follow each other in the output.
#[derive(Clone, Debug)]
struct Run {
    input: usize,
    rows: Range<usize>,
    code: i32,
}

/// Writes all rows of `inputs` in order. Of each entity's rows before `retention_bound` only the newest is kept.
pub fn merge(
    medium: &Medium,
    id: u64,
    group: &Arc<RowSchema>,
    inputs: &[Arc<Segment>],
    retention_bound: Option<i64>,
) -> Result<Arc<Segment>> {
    let keys = Arc::new(union(inputs));
    let columns = group.columns.iter().map(|column| {
        let mut held = inputs.iter().map(|input| input.column(&column.name));
        let any = held.clone().any(|parts| parts.is_some());
        let left_out =
            held.any(|parts| parts.is_none_or(|parts| parts.iter().any(|part| part.left_out.is_some())));
        any.then_some(left_out)
    });
    let layout = Layout { group: group.clone(), columns: columns.collect() };
    let mut output = Output {
        inputs,
        batch_rows: 1 << BATCH_ROWS_LOG2,
        writer: SegmentWriter::create(medium, id, layout.clone(), keys.clone(), BATCH_ROWS_LOG2)?,
        layout,
        pending: Vec::new(),
        pending_rows: 0,
    };
    // For each input the code and the row it has come to.
    let mut at = vec![(0, 0); inputs.len()];
    let mut heads: Vec<(usize, Range<usize>)> = Vec::with_capacity(inputs.len());
    for code in 0..keys.len() {
        heads.clear();
        for (number, input) in inputs.iter().enumerate() {
            let (input_code, row) = &mut at[number];
            if *input_code < input.keys.len() && input.keys.value(*input_code) == keys.value(code) {
                let rows = input.rows_of_code(*input_code, *row);
                (*input_code, *row) = (*input_code + 1, rows.end);
                heads.push((number, rows));
            }
        }
        merge_entity(&mut heads, code as i32, retention_bound, &mut output)?;
    }
    output.write_batch()?;
    output.writer.reduced_to(retention_bound);
    output.writer.finish()
}

/// All keys of all inputs in order.
fn union(inputs: &[Arc<Segment>]) -> StringArray {
    let mut keys = StringBuilder::new();
    let mut at = vec![0; inputs.len()];
    loop {
        let heads = inputs.iter().zip(&at).filter(|(input, at)| **at < input.keys.len());
        let Some(least) = heads.map(|(input, at)| input.keys.value(*at)).min() else { break };
        keys.append_value(least);
        for (input, at) in inputs.iter().zip(&mut at) {
            *at += usize::from(*at < input.keys.len() && input.keys.value(*at) == least);
        }
    }
    keys.finish()
}

/// Puts one entity's rows out in order.
fn merge_entity(
    heads: &mut Vec<(usize, Range<usize>)>,
    code: i32,
    retention_bound: Option<i64>,
    output: &mut Output<'_>,
) -> Result<()> {
    if let Some(bound) = retention_bound {
        drop_outdated(heads, bound, output.inputs);
    }
    while let Some(first) = least(heads, output.inputs) {
        let (input, rows) = heads[first].clone();
        // The run ends where another input has a lesser row.
        let segment = &output.inputs[input];
        let others = heads.iter().enumerate().filter(|(at, _)| *at != first);
        let next = others.map(|(_, (input, rows))| output.inputs[*input].order(rows.start)).min();
        let mut end = rows.end;
        if let Some(next) = next {
            end = rows.start + 1;
            while end < rows.end && segment.order(end) < next {
                end += 1;
            }
        }
        output.push(Run { input, rows: rows.start..end, code })?;
        if end == rows.end {
            heads.swap_remove(first);
        } else {
            heads[first].1.start = end;
        }
    }
    Ok(())
}

/// Cuts off the rows before the bound, but for the newest of them.
fn drop_outdated(heads: &mut Vec<(usize, Range<usize>)>, bound: i64, inputs: &[Arc<Segment>]) {
    let outdated = |(input, rows): &(usize, Range<usize>)| {
        inputs[*input].events.partition_point(rows.clone(), |event| event < bound)
    };
    let ends: Vec<usize> = heads.iter().map(outdated).collect();
    let last = heads.iter().zip(&ends).enumerate().filter(|(_, ((_, rows), end))| **end > rows.start);
    let base = last.max_by_key(|(_, ((input, _), end))| inputs[*input].order(**end - 1)).map(|(at, _)| at);
    for (at, ((_, rows), end)) in heads.iter_mut().zip(&ends).enumerate() {
        rows.start = if base == Some(at) { *end - 1 } else { *end };
    }
    heads.retain(|(_, rows)| !rows.is_empty());
}

fn least(heads: &[(usize, Range<usize>)], inputs: &[Arc<Segment>]) -> Option<usize> {
    match heads {
        [] => None,
        [_] => Some(0),
        heads => (0..heads.len()).min_by_key(|at| inputs[heads[*at].0].order(heads[*at].1.start)),
    }
}

/// Collects runs until they fill a record batch.
struct Output<'a> {
    inputs: &'a [Arc<Segment>],
    batch_rows: usize,
    layout: Layout,
    writer: SegmentWriter<'a>,
    pending: Vec<Run>,
    pending_rows: usize,
}

impl Output<'_> {
    fn push(&mut self, mut run: Run) -> Result<()> {
        while self.pending_rows + run.rows.len() >= self.batch_rows {
            let middle = run.rows.start + self.batch_rows - self.pending_rows;
            self.pending.push(Run { rows: run.rows.start..middle, ..run });
            self.pending_rows = self.batch_rows;
            self.write_batch()?;
            run.rows.start = middle;
        }
        if !run.rows.is_empty() {
            self.pending_rows += run.rows.len();
            self.pending.push(run);
        }
        Ok(())
    }

    fn write_batch(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let runs = std::mem::take(&mut self.pending);
        let rows = std::mem::take(&mut self.pending_rows);
        let mut codes = Vec::with_capacity(rows);
        runs.iter().for_each(|run| codes.resize(codes.len() + run.rows.len(), run.code));
        let each = || runs.iter().flat_map(|run| run.rows.clone().map(|row| (&self.inputs[run.input], row)));
        let held =
            self.layout.group.columns.iter().zip(&self.layout.columns).filter(|(_, held)| held.is_some());
        let columns = held.map(|(column, left_out)| {
            let parts: Vec<Option<&[Column]>> =
                self.inputs.iter().map(|input| input.column(&column.name)).collect();
            self.collect(&parts, &runs, rows, *left_out == Some(true))
        });
        let columns =
            columns.collect::<Result<_, _>>().map_err(|error| storage_error("merge", "segments", error))?;
        let rows = Rows {
            columns,
            events: each().map(|(input, row)| input.events.get(row)).collect(),
            created: each().map(|(input, row)| input.created.get(row)).collect(),
            sequences: each().map(|(input, row)| input.sequences.get(row)).collect(),
            codes,
        };
        self.writer.write(rows)
    }

    fn collect(
        &self,
        parts: &[Option<&[Column]>],
        runs: &[Run],
        rows: usize,
        with_left_out: bool,
    ) -> Result<Column, ArrowError> {
        let data: Vec<ArrayData> = parts
            .iter()
            .flat_map(|parts| parts.iter().copied().flatten())
            .map(|part| part.values.to_data())
            .collect();
        let mut first = Vec::with_capacity(parts.len());
        let mut count = 0;
        for parts in parts {
            first.push(count);
            count += parts.map_or(0, <[Column]>::len);
        }
        let mut values = MutableArrayData::new(data.iter().collect(), with_left_out, rows);
        let mut left_out = with_left_out.then(|| BooleanBufferBuilder::new(rows));
        for run in runs {
            let Some(parts) = parts[run.input] else {
                values.try_extend_nulls(run.rows.len())?;
                if let Some(bits) = &mut left_out {
                    bits.append_n(run.rows.len(), true);
                }
                continue;
            };
            let mut rest = run.rows.clone();
            while !rest.is_empty() {
                let (batch, at) = self.inputs[run.input].place(rest.start);
                let part = &parts[batch];
                let end = part.values.len().min(at + rest.len());
                values.try_extend(first[run.input] + batch, at, end)?;
                if let Some(bits) = &mut left_out {
                    match &part.left_out {
                        Some(part) => bits.append_buffer(&part.slice(at, end - at)),
                        None => bits.append_n(end - at, false),
                    }
                }
                rest.start += end - at;
            }
        }
        let left_out: Option<BooleanBuffer> = left_out.map(|mut bits| bits.finish());
        Ok(Column { values: make_array(values.freeze()), left_out })
    }
}
