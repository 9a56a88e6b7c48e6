//! The volumes that one series holds: time points, echoes, orientations, told apart by what their images say.
//!
//! Images that differ in size, pixel spacing, orientation or Stack ID never make one volume. Where several images lie at
//! one position, the first of these that accounts for it divides them: image type, echo time, b-value, trigger delay,
//! temporal position, acquisition number; then, if every position has as many images, their order of trigger delay or of
//! acquisition time. What nothing tells apart stays together, to be refused as duplicates.

use std::collections::{BTreeMap, BTreeSet};

use super::order::{SAME_COSINE, SAME_POSITION, SAME_SPACING};
use super::slice::{Key, Slice};
use crate::geometry::{cross, dot};

/// What images of one volume always share.
const ALWAYS: [Key; 4] = [Key::Size, Key::Orientation, Key::Spacing, Key::Stack];
/// What tells images at one position apart, the most telling first.
const AT_ONE_POSITION: [Key; 6] = [Key::Type, Key::Echo, Key::B, Key::Phase, Key::Time, Key::Acquisition];

/// Images of one series that make one volume.
#[derive(Debug)]
pub(in crate::dicom) struct Stack {
    /// Its number among the volumes of its series, from 1.
    pub number: usize,
    pub slices: Vec<Slice>,
    /// By what it differs from the other volumes of its series.
    pub marks: Vec<(Key, String)>,
}

impl Stack {
    /// The value that all slices have for `key`; `None` if they differ or have none.
    pub fn name(&self, key: Key) -> Option<&str> {
        let value = self.slices.first()?.name(key);
        (!value.is_empty() && self.slices.iter().all(|slice| slice.name(key) == value)).then_some(value)
    }

    /// Distance of neighbouring slices in mm as their positions have it, of one slice as its header says.
    pub fn distance(&self) -> Option<f64> {
        let mut depths: Vec<f64> = self.slices.iter().filter_map(depth).collect();
        depths.sort_by(f64::total_cmp);
        match (depths.first(), depths.last()) {
            (Some(first), Some(last)) if depths.len() > 1 => Some((last - first) / (depths.len() - 1) as f64),
            _ => self.slices.first().and_then(|slice| slice.spacing_between_slices.or(slice.thickness)),
        }
    }
}

/// Divides the images of a series.
pub(super) fn divide(mut slices: Vec<Slice>) -> Vec<Stack> {
    name(&mut slices);
    let mut groups = vec![slices];
    for key in ALWAYS {
        groups = groups.into_iter().flat_map(|group| by_key(group, key)).collect();
    }
    let mut groups: Vec<Vec<Slice>> = groups.into_iter().flat_map(told_apart).collect();
    groups.sort_by_key(|group| group.iter().map(|slice| (slice.file.instance_number, slice.frame)).min());
    let differing: Vec<Key> = Key::ALL
        .into_iter()
        .filter(|key| {
            let values: BTreeSet<&str> = groups.iter().flatten().map(|slice| slice.name(*key)).collect();
            let uniform = |group: &Vec<Slice>| group.iter().all(|slice| slice.name(*key) == group[0].name(*key));
            values.len() > 1 && groups.iter().all(uniform)
        })
        .collect();
    let marked = |(slices, number): (Vec<Slice>, usize)| {
        let marks = differing.iter().map(|key| (*key, slices[0].name(*key).to_owned())).collect();
        Stack { number, slices, marks }
    };
    groups.into_iter().zip(1..).map(marked).collect()
}

/// Gives each slice its value of every key, comparable within the series.
fn name(slices: &mut [Slice]) {
    let ranks = |value: fn(&Slice) -> Option<f64>, slices: &[Slice]| {
        let mut values: Vec<f64> = slices.iter().filter_map(value).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        values
    };
    let echoes = ranks(|slice| slice.marks.echo_time, slices);
    let phases = ranks(|slice| slice.marks.trigger, slices);
    let times = ranks(|slice| slice.marks.time, slices);
    let rank = |values: &[f64], value: Option<f64>| {
        value.map_or(String::new(), |value| (values.partition_point(|other| *other < value) + 1).to_string())
    };
    let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    let orientations = orientations(slices);
    let spacings = spacings(slices);
    for ((slice, orientation), spacing) in slices.iter_mut().zip(orientations).zip(spacings) {
        let size = slice.format.as_ref().map_or(String::new(), |format| format!("{}x{}", format.columns, format.rows));
        let marks = &slice.marks;
        slice.names = BTreeMap::from([
            (Key::Size, size),
            (Key::Orientation, orientation),
            (Key::Spacing, spacing),
            (Key::Stack, marks.stack.clone()),
            (Key::Type, marks.kind.clone()),
            (Key::Echo, rank(&echoes, marks.echo_time)),
            (Key::B, number(marks.b)),
            (Key::Phase, rank(&phases, marks.trigger)),
            (Key::Time, rank(&times, marks.time)),
            (Key::Acquisition, number(marks.acquisition)),
        ]);
    }
}

/// "axial", or "axial 1" and "axial 2" where two orientations are nearest to the same plane.
fn orientations(slices: &[Slice]) -> Vec<String> {
    let mut kinds: Vec<[f64; 6]> = Vec::new();
    let kind = |slice: &Slice, kinds: &mut Vec<[f64; 6]>| {
        let own = slice.orientation.clone().ok()?;
        let near = |other: &[f64; 6]| other.iter().zip(own).all(|(a, b)| (a - b).abs() <= SAME_COSINE);
        Some(kinds.iter().position(near).unwrap_or_else(|| {
            kinds.push(own);
            kinds.len() - 1
        }))
    };
    let of_slices: Vec<Option<usize>> = slices.iter().map(|slice| kind(slice, &mut kinds)).collect();
    let planes: Vec<&str> = kinds.iter().map(plane).collect();
    let name = |kind: usize| {
        let same = |others: &[&str]| others.iter().filter(|other| **other == planes[kind]).count();
        match same(&planes) {
            1 => planes[kind].to_owned(),
            _ => format!("{} {}", planes[kind], same(&planes[..kind]) + 1),
        }
    };
    of_slices.into_iter().map(|kind| kind.map_or(String::new(), name)).collect()
}

/// The plane of the patient that is nearest to that of the image.
fn plane(orientation: &[f64; 6]) -> &'static str {
    let [a, b, c, d, e, f] = *orientation;
    let normal = cross([a, b, c], [d, e, f]).map(f64::abs);
    let nearest = (0..3).max_by(|&a, &b| normal[a].total_cmp(&normal[b])).unwrap_or(2);
    ["sagittal", "coronal", "axial"][nearest]
}

/// Distance of columns x distance of rows; those that differ by rounding share a name.
fn spacings(slices: &[Slice]) -> Vec<String> {
    let mut kinds: Vec<[f64; 2]> = Vec::new();
    let name = |slice: &Slice| {
        let Ok(own) = slice.pixel_spacing else { return String::new() };
        let near = |other: &&[f64; 2]| (0..2).all(|n| (other[n] - own[n]).abs() <= SAME_SPACING * own[n].abs());
        let [rows, columns] = kinds.iter().find(near).copied().unwrap_or_else(|| {
            kinds.push(own);
            own
        });
        format!("{columns}x{rows}")
    };
    slices.iter().map(name).collect()
}

/// Parts of `group` with one value of `key` each, in order of first appearance.
fn by_key(group: Vec<Slice>, key: Key) -> Vec<Vec<Slice>> {
    let mut parts: Vec<Vec<Slice>> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for slice in group {
        let at = *places.entry(slice.name(key).to_owned()).or_insert(parts.len());
        if at == parts.len() {
            parts.push(Vec::new());
        }
        parts[at].push(slice);
    }
    parts
}

/// Divides images that lie at the same positions.
fn told_apart(mut group: Vec<Slice>) -> Vec<Vec<Slice>> {
    let positions = at_positions(&group);
    let most = positions.iter().map(Vec::len).max().unwrap_or(0);
    if most <= 1 {
        return vec![group];
    }
    let tells = |key: &Key| {
        let values: BTreeSet<&str> = group.iter().map(|slice| slice.name(*key)).collect();
        let differ = |at: &Vec<usize>| at.iter().any(|&n| group[n].name(*key) != group[at[0]].name(*key));
        // A key with more values than a position has images numbers the images, not the volumes.
        (2..=most).contains(&values.len()) && positions.iter().any(differ)
    };
    if let Some(key) = AT_ONE_POSITION.into_iter().find(tells) {
        return by_key(group, key).into_iter().flat_map(told_apart).collect();
    }
    for key in [Key::Phase, Key::Time] {
        if let Some(ranks) = ranks(&group, &positions, key) {
            for (slice, rank) in group.iter_mut().zip(ranks) {
                slice.names.insert(key, rank.to_string());
            }
            return by_key(group, key);
        }
    }
    vec![group]
}

/// The place of each slice among those at its position, in order of trigger delay or of acquisition time. `None` unless
/// every position has as many slices, and no two of them tie.
fn ranks(group: &[Slice], positions: &[Vec<usize>], key: Key) -> Option<Vec<usize>> {
    let most = positions.first()?.len();
    let mut ranks = vec![0; group.len()];
    for at in positions {
        let mut order: Vec<(String, usize)> = Vec::new();
        for &n in at {
            let marks = &group[n].marks;
            let sortable = match key {
                Key::Phase => format!("{:020.6}", marks.trigger?),
                _ => Some(marks.acquired.clone()).filter(|text| !text.is_empty())?,
            };
            order.push((sortable, n));
        }
        order.sort();
        if at.len() != most || order.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return None;
        }
        order.into_iter().zip(1..).for_each(|((_, n), rank)| ranks[n] = rank);
    }
    Some(ranks)
}

/// Slices by position along their common normal, those of one position together.
fn at_positions(group: &[Slice]) -> Vec<Vec<usize>> {
    let mut depths: Vec<(f64, usize)> =
        group.iter().enumerate().filter_map(|(n, slice)| Some((depth(slice)?, n))).collect();
    depths.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut positions: Vec<Vec<usize>> = Vec::new();
    let mut last = f64::NEG_INFINITY;
    for (depth, n) in depths {
        match positions.last_mut() {
            Some(at) if depth - last <= SAME_POSITION => at.push(n),
            _ => positions.push(vec![n]),
        }
        last = depth;
    }
    positions
}

/// Position along the normal, in mm.
fn depth(slice: &Slice) -> Option<f64> {
    let (position, [a, b, c, d, e, f]) = (slice.position.clone().ok()?, slice.orientation.clone().ok()?);
    Some(dot(position, cross([a, b, c], [d, e, f])))
}
