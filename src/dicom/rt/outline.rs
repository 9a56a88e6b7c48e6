//! Outlines of a label in one slice, along the borders of its pixels.
//!
//! Corners are counted in pixels: pixel (i, j) spans corners (i, j) to (i + 1, j + 1). A pixel belongs to the label exactly
//! if its centre lies within the outline, and the outline encloses the area of its pixels.

use std::collections::BTreeMap;

/// Column and row of a corner.
pub type Corner = [i32; 2];

/// Closed outlines of the pixels of `slice` (`[rows, columns]`) that are `value`, one for each part; pixels that touch at a
/// corner alone are parts of their own. A hole is joined to its outline by a channel of no width along pixel borders (the
/// keyhole of PS3.3 section C.8.8.6.3). Corners within a straight line are left out.
pub fn outlines(slice: &[u8], columns: usize, value: u8) -> Vec<Vec<Corner>> {
    let mut holes = Vec::new();
    let mut parts = Vec::new();
    for outline in trace(slice, columns, value) {
        // Twice the area, positive with the inside to the right of each step: rows count downwards.
        let area: i64 =
            pairs(&outline).map(|([x, y], [u, v])| i64::from(x) * i64::from(v) - i64::from(u) * i64::from(y)).sum();
        if area > 0 { parts.push(outline) } else { holes.push(outline) }
    }
    // What lies to the left of a hole is its outline or a hole that was joined before.
    holes.sort_by_key(|hole| leftmost(hole).1);
    for hole in holes {
        join(&mut parts, hole);
    }
    parts.iter().map(|outline| straightened(outline)).collect()
}

/// Corner by corner along all borders, with the label to the right.
fn trace(slice: &[u8], columns: usize, value: u8) -> Vec<Vec<Corner>> {
    let rows = slice.len() / columns;
    let inside = |[x, y]: Corner| {
        let within = x >= 0 && y >= 0 && (x as usize) < columns && (y as usize) < rows;
        within && slice[y as usize * columns + x as usize] == value
    };
    // Steps from each corner: right along the upper border, down along the right one, and so on.
    let mut steps: BTreeMap<Corner, Vec<Corner>> = BTreeMap::new();
    for y in 0..rows as i32 {
        for x in 0..columns as i32 {
            if !inside([x, y]) {
                continue;
            }
            let borders = [
                ([x, y - 1], [x, y], [x + 1, y]),
                ([x + 1, y], [x + 1, y], [x + 1, y + 1]),
                ([x, y + 1], [x + 1, y + 1], [x, y + 1]),
                ([x - 1, y], [x, y + 1], [x, y]),
            ];
            for (beyond, from, to) in borders {
                if !inside(beyond) {
                    steps.entry(from).or_default().push(to);
                }
            }
        }
    }
    let mut outlines = Vec::new();
    while let Some((&first, _)) = steps.first_key_value() {
        let (mut outline, mut at, mut before) = (Vec::new(), first, None);
        while let Some(onward) = steps.get_mut(&at) {
            // Where two pixels touch at a corner, a right turn stays with the pixel that was followed.
            let turn = |to: &Corner| {
                let [a, b]: Corner = before.map_or([0, 0], |[x, y]: Corner| [at[0] - x, at[1] - y]);
                let [c, d] = [to[0] - at[0], to[1] - at[1]];
                a * d - b * c
            };
            let next = onward.iter().enumerate().max_by_key(|(_, to)| turn(to)).map_or(0, |(n, _)| n);
            let to = onward.swap_remove(next);
            if onward.is_empty() {
                steps.remove(&at);
            }
            outline.push(at);
            (before, at) = (Some(at), to);
            // Nothing of the outline lies left of where it began, so that it passes there but once.
            if at == first {
                break;
            }
        }
        outlines.push(outline);
    }
    outlines
}

/// Joins `hole` to the outline that its leftmost border meets to the left.
fn join(parts: &mut [Vec<Corner>], hole: Vec<Corner>) {
    let (at, [x, y]) = leftmost(&hole);
    let target = (0..x).rev().find_map(|left| {
        let corner = [left, y];
        parts.iter().enumerate().find_map(|(part, outline)| Some((part, outline.iter().position(|c| *c == corner)?)))
    });
    let Some((part, place)) = target else { return };
    let round = hole[at..].iter().chain(&hole[..=at]).copied();
    let corner = parts[part][place];
    let channel: Vec<Corner> = round.chain([corner]).collect();
    parts[part].splice(place + 1..place + 1, channel);
}

/// Index and place of the corner that is farthest left, and highest among those.
fn leftmost(outline: &[Corner]) -> (usize, Corner) {
    let least = outline.iter().enumerate().min_by_key(|(_, corner)| **corner);
    least.map_or((0, [0, 0]), |(at, corner)| (at, *corner))
}

/// Without the corners within straight lines, but for the ends of channels, which lie there twice.
fn straightened(outline: &[Corner]) -> Vec<Corner> {
    let count = outline.len();
    let mut visits: BTreeMap<Corner, usize> = BTreeMap::new();
    outline.iter().for_each(|corner| *visits.entry(*corner).or_default() += 1);
    let step = |a: Corner, b: Corner| [(b[0] - a[0]).signum(), (b[1] - a[1]).signum()];
    let turns = |n: &usize| {
        let (before, at, after) = (outline[(n + count - 1) % count], outline[*n], outline[(n + 1) % count]);
        step(before, at) != step(at, after) || visits[&at] > 1
    };
    (0..count).filter(turns).map(|n| outline[n]).collect()
}

/// Each corner with the next one.
fn pairs(outline: &[Corner]) -> impl Iterator<Item = (Corner, Corner)> + '_ {
    outline.iter().copied().zip(outline.iter().copied().cycle().skip(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels whose centre is within an odd number of the outlines.
    fn filled(outlines: &[Vec<Corner>], columns: usize, rows: usize) -> Vec<u8> {
        let crossings = |x: f64, y: f64| {
            outlines.iter().flat_map(|outline| pairs(outline)).filter(move |([a, b], [_, d])| {
                // Borders run along the axes: only upright ones are crossed on the way to the left.
                f64::from(*a) < x && (f64::from(*b) < y) != (f64::from(*d) < y)
            })
        };
        (0..columns * rows)
            .map(|n| u8::from(crossings((n % columns) as f64 + 0.5, (n / columns) as f64 + 0.5).count() % 2 == 1))
            .collect()
    }

    #[test]
    fn outlines_hold_the_very_pixels() {
        let mut random = 3u64;
        let mut next = || {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) as usize
        };
        for round in 0..3000 {
            let (columns, rows) = (1 + next() % 9, 1 + next() % 9);
            let density = 1 + next() % 9;
            let slice: Vec<u8> = (0..columns * rows).map(|_| u8::from(next() % 10 < density)).collect();
            let outlines = outlines(&slice, columns, 1);
            assert_eq!(filled(&outlines, columns, rows), slice, "round {round}, {columns} columns");
            for outline in &outlines {
                assert!(outline.len() >= 4, "{outline:?}");
                assert!(pairs(outline).all(|(a, b)| (a[0] == b[0]) != (a[1] == b[1])), "{outline:?}");
            }
        }
    }

    #[test]
    fn parts_and_holes_have_the_outlines_that_one_would_draw() {
        let slice = [
            1, 1, 1, 0, 0, //
            1, 0, 1, 0, 1, //
            1, 1, 1, 0, 0,
        ];
        let found = outlines(&slice, 5, 1);
        assert_eq!(
            found,
            [
                vec![[0, 0], [3, 0], [3, 3], [0, 3], [0, 1], [1, 1], [1, 2], [2, 2], [2, 1], [1, 1], [0, 1]],
                vec![[4, 1], [5, 1], [5, 2], [4, 2]],
            ]
        );
        // Two pixels that touch at a corner are two parts, whichever way they lie.
        for slice in [[1, 0, 0, 1], [0, 1, 1, 0]] {
            assert_eq!(outlines(&slice, 2, 1).len(), 2, "{slice:?}");
        }
    }
}
