use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const WIDTH: u64 = ReplayWindow::WIDTH;

/// What the window is to do, said without a bitmap.
#[derive(Default)]
struct Model {
    seen: BTreeSet<u64>,
}

impl Model {
    fn accept(&mut self, counter: u64) -> Result<(), ReplayError> {
        let latest = self.seen.last().copied().unwrap_or(0);
        if latest.saturating_sub(counter) >= WIDTH {
            return Err(ReplayError::TooOld);
        }
        if self.seen.insert(counter) {
            Ok(())
        } else {
            Err(ReplayError::Replayed)
        }
    }
}

#[test]
fn the_width_is_what_the_design_asks_for() {
    assert_eq!(WIDTH, 4_032);
    const { assert!(WIDTH >= 2_048) };
    const { assert!(WORDS.is_power_of_two()) };
    assert_eq!(size_of::<ReplayWindow>(), 520);
}

#[test]
fn each_counter_is_accepted_once() {
    let mut window = ReplayWindow::new();
    for counter in [0, 1, 3, 2, 64, 63, 65] {
        assert_eq!(window.check(counter), Ok(()));
        assert_eq!(window.accept(counter), Ok(()));
        assert_eq!(window.check(counter), Err(ReplayError::Replayed));
        assert_eq!(window.accept(counter), Err(ReplayError::Replayed));
    }
    assert_eq!(window.latest(), 65);
}

#[test]
fn the_edge_of_the_window_is_exact_wherever_it_stands() {
    for latest in (WIDTH..WIDTH + 130).chain([(1 << 48) - 1, 1 << 48, u64::MAX - 1, u64::MAX]) {
        let mut window = ReplayWindow::new();
        window.accept(latest).unwrap();
        assert_eq!(
            window.check(latest - WIDTH),
            Err(ReplayError::TooOld),
            "latest {latest}"
        );
        assert_eq!(
            window.accept(latest - (WIDTH - 1)),
            Ok(()),
            "latest {latest}"
        );
        assert_eq!(
            window.accept(latest - (WIDTH - 1)),
            Err(ReplayError::Replayed),
            "latest {latest}"
        );
        for behind in 1..WIDTH - 1 {
            assert_eq!(
                window.check(latest - behind),
                Ok(()),
                "latest {latest}, {behind} behind"
            );
        }
    }
}

#[test]
fn a_jump_forgets_all_that_fell_out() {
    for jump in [
        1,
        63,
        64,
        WIDTH - 1,
        WIDTH,
        WIDTH + 63,
        WIDTH + 64,
        WIDTH + 65,
        1 << 20,
        1 << 47,
    ] {
        let mut window = ReplayWindow::new();
        let mut model = Model::default();
        for counter in 1..=2 * WIDTH {
            assert_eq!(window.accept(counter), model.accept(counter));
        }
        let latest = 2 * WIDTH + jump;
        assert_eq!(window.accept(latest), model.accept(latest));
        for counter in latest - WIDTH - 64..=latest {
            assert_eq!(
                window.accept(counter),
                model.accept(counter),
                "jump {jump}, counter {counter}"
            );
        }
    }
}

#[test]
fn a_refusal_changes_nothing() {
    let mut window = ReplayWindow::new();
    window.accept(10_000).unwrap();
    let before = format!("{window:?}");
    window.accept(10_000).unwrap_err();
    window.accept(1).unwrap_err();
    assert_eq!(format!("{window:?}"), before);
}

fn bases() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1 << 20),
        Just((1 << 48) - 6_000),
        Just(u64::MAX - 9_000)
    ]
}

proptest! {
    #[test]
    fn the_window_does_what_the_model_does(
        base in bases(),
        // Mostly near each other, so that they meet; some a window apart.
        steps in prop::collection::vec(prop_oneof![8 => 0..200u64, 2 => 3_900..4_200u64, 1 => 0..9_000u64], 0..300),
    ) {
        let mut window = ReplayWindow::new();
        let mut model = Model::default();
        for step in steps {
            let counter = base + step;
            let checked = window.check(counter);
            let accepted = window.accept(counter);
            prop_assert_eq!(checked, accepted);
            prop_assert_eq!(accepted, model.accept(counter), "counter {}", counter);
            prop_assert_eq!(window.latest(), model.seen.last().copied().unwrap_or(0));
        }
    }

    #[test]
    fn a_wandering_sequence_is_judged_as_the_model_judges_it(
        start in bases(),
        steps in prop::collection::vec(prop_oneof![8 => -20..40i64, 1 => -4_100..100i64, 1 => 0..5_000i64], 0..400),
    ) {
        let mut window = ReplayWindow::new();
        let mut model = Model::default();
        let mut at = start;
        for step in steps {
            let counter = at.saturating_add_signed(step);
            prop_assert_eq!(window.accept(counter), model.accept(counter), "counter {}", counter);
            at = at.max(counter);
        }
    }
}
