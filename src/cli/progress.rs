//! Progress on stderr, for people only: a bar for the stage that runs, and below a training's the stages within it.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use transunet::control::{Flow, Progress, Stage};

use super::terminal::BARS;

/// Shows the stages of a call as they come; gone when dropped.
pub struct Stages {
    quiet: bool,
    /// The stage that runs, or the training that it is a part of.
    main: Option<(Stage, ProgressBar)>,
    /// A stage within the training.
    inner: Option<(Stage, ProgressBar)>,
    training: Training,
}

impl Stages {
    pub fn new(quiet: bool) -> Self {
        let quiet = quiet || !stderr().is_terminal();
        Stages { quiet, main: None, inner: None, training: Training::default() }
    }

    pub fn show(&mut self, progress: &Progress) -> Flow {
        if self.quiet {
            return Flow::Continue;
        }
        let stage = progress.stage;
        let within = stage != Stage::Train && matches!(self.main, Some((Stage::Train, _)));
        if within {
            self.training.interrupted();
        } else {
            clear(&mut self.inner);
        }
        let slot = if within { &mut self.inner } else { &mut self.main };
        if slot.as_ref().is_none_or(|(shown, _)| *shown != stage) {
            clear(slot);
            *slot = Some((stage, new_bar(stage, progress.total > 0)));
        }
        if let Some((_, bar)) = slot {
            if stage == Stage::Train {
                bar.set_message(self.training.line(progress, columns() >= ROOMY));
            }
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        }
        Flow::Continue
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        clear(&mut self.inner);
        clear(&mut self.main);
    }
}

fn clear(slot: &mut Option<(Stage, ProgressBar)>) {
    if let Some((_, bar)) = slot.take() {
        bar.finish_and_clear();
    }
}

/// Columns of a terminal that has room for all that is known of a training.
const ROOMY: usize = 100;

fn columns() -> usize {
    console::Term::stderr().size().1.into()
}

/// `ends`: it is known how much there is to do.
fn new_bar(stage: Stage, ends: bool) -> ProgressBar {
    let name = match stage {
        Stage::Read => "reading",
        Stage::Preprocess => "preparing",
        Stage::Compile => "compiling kernels",
        Stage::Infer => "segmenting",
        Stage::Train => "training",
        Stage::Validate => "validating",
        Stage::Write => "writing",
    };
    let width = (columns().saturating_sub(ROOMY - 18)).clamp(14, 32);
    let last = if stage == Stage::Train { "{msg}" } else { "{elapsed:.dim}" };
    let template = match ends {
        true => format!("{{prefix:>12.bold}} {{bar:{width}.cyan/dim}} {{pos}}/{{len}}  {last}"),
        false => format!("{{prefix:>12.bold}} {{pos}}  {last}"),
    };
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = BARS.add(ProgressBar::new(0).with_style(style.progress_chars("━━╌")).with_prefix(name));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// What is known of a training from its events, one before each step and one at the end.
#[derive(Default)]
struct Training {
    /// The first event: when, and how many steps had been made.
    began: Option<(Instant, u64)>,
    /// The latest event, unless another stage has run since.
    latest: Option<(Instant, u64)>,
    loss: Smooth,
    seconds: Smooth,
}

impl Training {
    /// Another stage runs: the time until the next event is not a step's.
    fn interrupted(&mut self) {
        self.latest = None;
    }

    fn line(&mut self, progress: &Progress, roomy: bool) -> String {
        let now = Instant::now();
        let (began, first) = *self.began.get_or_insert((now, progress.done));
        if let Some((before, done)) = self.latest.replace((now, progress.done))
            && progress.done > done
        {
            self.seconds.add((now - before).as_secs_f64() / (progress.done - done) as f64);
        }
        if progress.loss.is_finite() {
            self.loss.add(progress.loss);
        }
        let mut parts = Vec::new();
        if roomy {
            parts.push(format!("epoch {}", progress.epoch));
        }
        parts.extend(self.loss.value().map(|loss| format!("loss {loss:.4}")));
        if progress.dice.is_finite() {
            parts.push(format!("Dice {:.4}", progress.dice));
        }
        if roomy {
            parts.extend(self.seconds.value().map(speed));
        }
        // With all that comes between steps, unlike the speed.
        let made = progress.done.saturating_sub(first);
        if made >= 2 {
            let each = (now - began).as_secs_f64() / made as f64;
            parts.push(format!("{} left", clock(each * progress.total.saturating_sub(progress.done) as f64)));
        }
        parts.join("  ")
    }
}

fn speed(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} steps/s", 1.0 / seconds.max(1e-6)) } else { format!("{seconds:.1} s/step") }
}

/// Hours, minutes and seconds.
fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// A moving average over about 30 values.
#[derive(Default)]
struct Smooth {
    sum: f64,
    weight: f64,
}

impl Smooth {
    const KEEP: f64 = 1.0 - 1.0 / 30.0;

    fn add(&mut self, value: f64) {
        self.sum = self.sum * Self::KEEP + value;
        self.weight = self.weight * Self::KEEP + 1.0;
    }

    fn value(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_is_told_in_a_line() {
        let mut training = Training::default();
        let event = |done, loss, dice| Progress { stage: Stage::Train, epoch: 2, done, total: 100, loss, dice };
        assert_eq!(training.line(&event(10, f64::NAN, f64::NAN), true), "epoch 2");
        training.began = Some((Instant::now() - Duration::from_secs(20), 10));
        training.latest = Some((Instant::now() - Duration::from_secs(4), 18));
        let line = training.line(&event(20, 0.5, 0.75), true);
        assert_eq!(line, "epoch 2  loss 0.5000  Dice 0.7500  2.0 s/step  2:40 left");
        training.interrupted();
        std::thread::sleep(Duration::from_millis(20));
        let line = training.line(&event(20, 0.5, 0.75), false);
        assert_eq!(line, "loss 0.5000  Dice 0.7500  2:40 left");
        assert_eq!(training.seconds.value().map(speed).unwrap(), "2.0 s/step", "a validation is no step");
        assert_eq!((clock(3661.2), speed(0.125)), ("1:01:01".into(), "8.0 steps/s".into()));
    }

    #[test]
    fn the_loss_is_smoothed() {
        let mut loss = Smooth::default();
        (0..300).for_each(|n| loss.add(f64::from(n % 2)));
        assert!((loss.value().unwrap() - 0.5).abs() < 0.02);
    }
}
