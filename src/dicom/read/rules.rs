//! Rules that choose a series, or a volume within one: their text, and what speaks against a candidate.

use std::fmt::{self, Display};
use std::str::FromStr;

use super::slice::Key;
use super::stack::Stack;
use crate::error::{Error, Result};

/// One condition, such as `modality=MR` or `slices>=20`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    subject: Subject,
    relation: Relation,
    /// Alternatives for the equal and unequal, else one number.
    values: Vec<String>,
}

/// What speaks for a candidate, or what speaks against it.
pub type Judgement = std::result::Result<String, String>;

/// What a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Modality,
    Description,
    Number,
    Body,
    Contrast,
    Slices,
    /// Distance of slices.
    Distance,
    /// Slice Thickness (0018,0050).
    Thickness,
    Volume,
    Key(Key),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equal,
    Unequal,
    AtLeast,
    AtMost,
}

/// What rules look at in a series.
#[derive(Debug, Clone, Copy)]
pub struct SeriesTraits<'a> {
    pub series_uid: &'a str,
    pub modality: &'a str,
    pub description: &'a str,
    pub number: Option<i32>,
    pub body_part: &'a str,
    /// Whether its images name a contrast agent.
    pub contrast: bool,
}

const SUBJECTS: [(&str, Subject); 9] = [
    ("modality", Subject::Modality),
    ("description", Subject::Description),
    ("number", Subject::Number),
    ("body", Subject::Body),
    ("contrast", Subject::Contrast),
    ("slices", Subject::Slices),
    ("distance", Subject::Distance),
    ("thickness", Subject::Thickness),
    ("volume", Subject::Volume),
];

/// A value to judge.
enum Value<'a> {
    Text(&'a str),
    /// Several that count as one, such as the parts of an image type.
    Parts(&'a str),
    Number(f64),
    None,
}

impl Rule {
    /// What speaks for a series, or against it; `Ok("")` for what is known of its volumes only.
    pub fn judge(&self, series: &SeriesTraits) -> Judgement {
        let value = match self.subject {
            Subject::Modality => Value::Text(series.modality),
            Subject::Description => Value::Text(series.description),
            Subject::Number => series.number.map_or(Value::None, |number| Value::Number(number.into())),
            Subject::Body => Value::Text(series.body_part),
            Subject::Contrast => Value::Text(if series.contrast { "yes" } else { "no" }),
            _ => return Ok(String::new()),
        };
        self.judged(&value)
    }

    /// The same of a volume, for what [`Rule::judge`] does not know.
    pub(super) fn judge_stack(&self, stack: &Stack) -> Judgement {
        let number = |number: Option<f64>| number.map_or(Value::None, Value::Number);
        let value = match self.subject {
            Subject::Slices => Value::Number(stack.slices.len() as f64),
            Subject::Distance => number(stack.distance()),
            Subject::Thickness => number(stack.slices.first().and_then(|slice| slice.thickness)),
            Subject::Volume => Value::Number(stack.number as f64),
            Subject::Key(Key::Type) => stack.name(Key::Type).map_or(Value::None, Value::Parts),
            Subject::Key(key) => stack.name(key).map_or(Value::None, Value::Text),
            _ => return Ok(String::new()),
        };
        self.judged(&value)
    }

    fn judged(&self, value: &Value) -> Judgement {
        let fits = match (self.relation, value) {
            (Relation::Equal, value) => self.values.iter().any(|wanted| self.same(wanted, value)),
            (Relation::Unequal, value) => !self.values.iter().any(|wanted| self.same(wanted, value)),
            (relation, value) => {
                let (bound, value) = (self.values[0].parse().unwrap_or(f64::NAN), number(value));
                value.is_some_and(|value| if relation == Relation::AtLeast { value >= bound } else { value <= bound })
            }
        };
        let name = self.subject.name();
        let found = match value {
            Value::Text(text) | Value::Parts(text) => format!("{text:?}"),
            Value::Number(number) => number.to_string(),
            Value::None => "not stated".into(),
        };
        if fits { Ok(format!("{name} is {found}")) } else { Err(format!("{name} is {found}, expected {self}")) }
    }

    fn same(&self, wanted: &str, value: &Value) -> bool {
        let equal = |text: &str| text.eq_ignore_ascii_case(wanted);
        match value {
            Value::Text(text) if self.subject == Subject::Description => has_pattern(text, wanted),
            // "axial" is also each of "axial 1" and "axial 2".
            Value::Text(text) if self.subject == Subject::Key(Key::Orientation) => {
                equal(text) || text.split(' ').next().is_some_and(equal)
            }
            Value::Text(text) => equal(text) || number(value).is_some_and(|number| Ok(number) == wanted.parse()),
            Value::Parts(text) => equal(text) || text.split('\\').any(equal),
            Value::Number(number) => wanted.parse() == Ok(*number),
            Value::None => false,
        }
    }
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Subject::Key(key) => key.name(),
            _ => SUBJECTS.iter().find(|(_, subject)| *subject == self).map_or("", |(name, _)| name),
        }
    }

    fn named(name: &str) -> Option<Self> {
        let key = || Key::ALL.into_iter().find(|key| key.name() == name).map(Subject::Key);
        SUBJECTS.iter().find(|(other, _)| *other == name).map(|(_, subject)| *subject).or_else(key)
    }

    fn is_number(self) -> bool {
        matches!(
            self,
            Subject::Number
                | Subject::Slices
                | Subject::Distance
                | Subject::Thickness
                | Subject::Volume
                | Subject::Key(Key::Echo | Key::Phase | Key::Time)
        )
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Text(text) => text.parse().ok(),
        Value::Parts(_) | Value::None => None,
    }
}

/// Whether `text` has `pattern` in it, ignoring case; a star in the pattern stands for anything, and anchors it: `t1*` is
/// all that begins with t1.
fn has_pattern(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.to_lowercase(), pattern.to_lowercase());
    let parts: Vec<&str> = pattern.split('*').collect();
    let [first, middle @ .., last] = &parts[..] else {
        return text.contains(&pattern);
    };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

impl FromStr for Rule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why: String| Error::Argument(format!("rule {text:?}: {why}"));
        let at = text.find(['=', '!', '<', '>']).ok_or_else(|| refuse("expected NAME=VALUE".into()))?;
        let (name, rest) = text.split_at(at);
        let relations =
            [("!=", Relation::Unequal), (">=", Relation::AtLeast), ("<=", Relation::AtMost), ("=", Relation::Equal)];
        let found = relations.iter().find_map(|(sign, relation)| Some((*relation, rest.strip_prefix(sign)?)));
        let (relation, value) = found.ok_or_else(|| refuse("expected =, !=, >= or <= behind the name".into()))?;
        let names = || SUBJECTS.iter().map(|(name, _)| *name).chain(Key::ALL.map(Key::name)).collect::<Vec<_>>();
        let subject = Subject::named(name.trim())
            .ok_or_else(|| refuse(format!("{:?} is none of {}", name.trim(), names().join(", "))))?;
        let values: Vec<String> = match relation {
            Relation::Equal | Relation::Unequal => value.split('|').map(|value| value.trim().to_owned()).collect(),
            _ => vec![value.trim().to_owned()],
        };
        let bounded = matches!(relation, Relation::AtLeast | Relation::AtMost);
        if bounded && !(subject.is_number() || subject == Subject::Key(Key::B)) {
            return Err(refuse(format!("{} is no number, expected = or !=", subject.name())));
        }
        if (subject.is_number() || bounded)
            && let Some(odd) = values.iter().find(|value| value.parse::<f64>().is_err())
        {
            return Err(refuse(format!("{odd:?} is no number")));
        }
        if subject == Subject::Contrast
            && let Some(odd) = values.iter().find(|value| !matches!(value.as_str(), "yes" | "no"))
        {
            return Err(refuse(format!("{odd:?}, expected yes or no")));
        }
        Ok(Rule { subject, relation, values })
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let sign = match self.relation {
            Relation::Equal => "=",
            Relation::Unequal => "!=",
            Relation::AtLeast => ">=",
            Relation::AtMost => "<=",
        };
        write!(f, "{}{sign}{}", self.subject.name(), self.values.join("|"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_parts_or_anchored_by_stars() {
        for (text, pattern, fits) in [
            ("AX T1 post", "t1", true),
            ("AX T1 post", "t1*", false),
            ("T1 AX post", "t1*", true),
            ("AX T1 post", "*post", true),
            ("AX T1 post", "ax*t1*post", true),
            ("AX T1 post", "ax*t2*post", false),
            ("aa", "a*a*a", false),
            ("", "", true),
        ] {
            assert_eq!(has_pattern(text, pattern), fits, "{text} {pattern}");
        }
    }

    #[test]
    fn a_rule_says_what_is_wrong_with_it() {
        for (text, expected) in [
            ("modality", "expected NAME=VALUE"),
            ("colour=red", "\"colour\" is none of modality, description"),
            ("modality>=CT", "modality is no number"),
            ("slices=many", "\"many\" is no number"),
            ("slices<3", "expected =, !=, >= or <="),
            ("contrast=maybe", "expected yes or no"),
        ] {
            let message = text.parse::<Rule>().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_series_is_judged_by_what_is_known_of_it() {
        let series = SeriesTraits {
            series_uid: "1.2",
            modality: "MR",
            description: "AX T1 POST",
            number: Some(4),
            body_part: "BRAIN",
            contrast: true,
        };
        for (rule, against) in [
            ("modality=mr", None),
            ("modality=CT|MR", None),
            ("modality!=MR", Some("modality is \"MR\", expected modality!=MR")),
            ("description!=loc|scout", None),
            ("number>=4", None),
            ("number<=3", Some("number is 4, expected number<=3")),
            ("body=abdomen", Some("body is \"BRAIN\", expected body=abdomen")),
            ("contrast=yes", None),
            // Asked later, of its volumes.
            ("slices>=100", None),
            ("echo=2", None),
        ] {
            let judged = rule.parse::<Rule>().unwrap().judge(&series);
            assert_eq!(judged.err().as_deref(), against, "{rule}");
        }
    }
}
