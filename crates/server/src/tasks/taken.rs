//! What a pass took to be done. A pass may fail or be broken off at any time, and what it took is nowhere else.

use crate::app::App;

/// Put back when it is dropped, unless it was said to be done.
pub(super) struct Taken<T> {
    app: App,
    what: Option<T>,
    back: fn(&App, T),
}

impl<T> Taken<T> {
    /// What was taken, and how it is put back.
    pub(super) fn new(app: &App, what: T, back: fn(&App, T)) -> Self {
        Self { app: app.clone(), what: Some(what), back }
    }

    pub(super) const fn get(&self) -> Option<&T> {
        self.what.as_ref()
    }

    /// What is put back, to take out of it what is done.
    pub(super) const fn get_mut(&mut self) -> Option<&mut T> {
        self.what.as_mut()
    }

    /// It is done.
    pub(super) fn done(mut self) {
        self.what = None;
    }
}

impl<T> Drop for Taken<T> {
    fn drop(&mut self) {
        if let Some(what) = self.what.take() {
            (self.back)(&self.app, what);
        }
    }
}
