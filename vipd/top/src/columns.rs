//! Tables whose columns fit the terminal: on a narrow one cells are cut, then the least of the columns are left out.

use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    style::{Modifier, Style},
    text::Line,
    widgets::{Row, Table, TableState},
};
use vipd_control::status::cut;

pub const DIM: Style = Style::new().add_modifier(Modifier::DIM);

/// A column of rows of kind `R`.
pub struct Column<R> {
    head: &'static str,
    /// So that what changes does not push the others about.
    least_width: usize,
    /// On a terminal that is too narrow the greatest ones are left out.
    rank: u8,
    cell: fn(&R) -> Line<'static>,
}

pub const fn column<R>(
    head: &'static str,
    least_width: usize,
    rank: u8,
    cell: fn(&R) -> Line<'static>,
) -> Column<R> {
    Column { head, least_width, rank, cell }
}

/// A name or an address that is wider than this part of the terminal is cut where that keeps other columns.
const WIDEST_PART: usize = 6;
const WIDEST_LEAST: usize = 13;

/// A column with its cells, its width, and the width that its cells would take.
struct Fitted<'c, R> {
    column: &'c Column<R>,
    width: usize,
    natural: usize,
    cells: std::vec::IntoIter<Line<'static>>,
}

/// Draws a table with the row `selected` in sight; one that is old is dim.
pub fn table<R>(
    frame: &mut Frame<'_>,
    area: Rect,
    columns: &[Column<R>],
    shown: &[R],
    selected: Option<usize>,
    is_old: bool,
) {
    let mut columns = fit(area.width.into(), columns, shown);
    let width = |fitted: &Fitted<'_, R>| Constraint::Length(u16::try_from(fitted.width).unwrap_or(u16::MAX));
    let widths: Vec<_> = columns.iter().map(width).collect();
    let heads: Vec<_> = columns.iter().map(|fitted| fitted.column.head).collect();
    let rows: Vec<_> = (0..shown.len())
        .map(|_| {
            let cells = columns.iter_mut().filter_map(|fitted| {
                let width = fitted.width;
                fitted.cells.next().map(|line| shortened(line, width))
            });
            Row::new(cells.collect::<Vec<_>>())
        })
        .collect();
    let table = Table::new(rows, widths)
        .header(Row::new(heads).style(Modifier::UNDERLINED))
        .style(if is_old { DIM } else { Style::new() })
        .row_highlight_style(Modifier::REVERSED);
    // The offset is found anew with each picture, so that the selected row is in it.
    let mut state = TableState::new().with_selected(selected);
    frame.render_stateful_widget(table, area, &mut state);
}

fn fit<'c, R>(whole: usize, columns: &'c [Column<R>], shown: &[R]) -> Vec<Fitted<'c, R>> {
    let widest = (whole / WIDEST_PART).max(WIDEST_LEAST);
    let mut fitted: Vec<Fitted<'_, R>> = columns
        .iter()
        .map(|column| {
            let cells: Vec<_> = shown.iter().map(column.cell).collect();
            let natural = cells.iter().map(Line::width).max().unwrap_or_default().max(column.least_width);
            let width = natural.min(widest).max(column.least_width);
            Fitted { column, width, natural, cells: cells.into_iter() }
        })
        .collect();
    // A column between each two.
    let whole = whole + 1;
    while fitted.iter().map(|it| it.width + 1).sum::<usize>() > whole && fitted.len() > 1 {
        let last = fitted.iter().map(|it| it.column.rank).max().unwrap_or_default();
        fitted.retain(|it| it.column.rank != last);
    }
    // What is left over is for what was cut.
    let mut left = whole.saturating_sub(fitted.iter().map(|it| it.width + 1).sum());
    for it in &mut fitted {
        let more = left.min(it.natural.saturating_sub(it.width));
        it.width += more;
        left -= more;
    }
    fitted
}

/// A line that is no wider, with an ellipsis where it was cut.
fn shortened(line: Line<'static>, width: usize) -> Line<'static> {
    if line.width() <= width {
        return line;
    }
    let text: String = line.spans.iter().map(|span| span.content.as_ref()).collect();
    Line::styled(cut(&text, width), line.style)
}
