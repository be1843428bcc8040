//! What it means that nothing was heard of an order: that a hold keeps it back, that its executor has it, that it will not
//! be carried out any more, or that nobody knows.

use stanch_model::hold::HoldLevel;
use stanch_model::remediation::TaskState as T;

use super::Task;

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderStands {
    /// It was never made, because nobody was known to carry it out.
    Missing,
    /// Not handed out.
    Waiting,
    /// Handed out, perhaps in vain.
    Delivered,
    /// Answered.
    Answered,
    /// Never handed out again.
    Void,
}

/// What is known of the order that a task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaited {
    /// Where it stands.
    pub order: OrderStands,
    /// Its executor has taken it, or one after it: it takes orders in their order and does not go back.
    pub passed: bool,
    /// Its time is over.
    pub over: bool,
    /// For longer than is borne nothing was heard of it, nor asked.
    pub quiet: bool,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Nothing yet.
    Wait,
    /// Its executor has accepted it.
    Accepted,
    /// What became of it has to be asked.
    Expired,
    /// The same, once it is taken back: it must not start after its journal has said that it did not.
    TakenBack,
}

impl Task {
    /// The number of the order whose answer this task waits for. One that is to be sent again anyway, or that has
    /// answered and waits for us, waits for none.
    pub const fn awaits(&self) -> Option<u32> {
        match self.state {
            T::Running if self.rest => None,
            T::Dispatched | T::Accepted | T::Running => Some(self.apply_order),
            T::Undoing if self.again_at.is_none() && self.undo_order > 0 => Some(self.undo_order),
            _ => None,
        }
    }

    /// What the silence about the order that it waits for means, under the hold that its remediation knows of.
    pub fn silence(&self, awaited: Awaited, hold: Option<HoldLevel>) -> Silence {
        let Awaited { order, passed, over, quiet } = awaited;
        match order {
            OrderStands::Missing => return Silence::Expired,
            OrderStands::Answered => return Silence::Wait,
            OrderStands::Delivered if passed && self.state == T::Dispatched => return Silence::Accepted,
            _ => {}
        }
        let kept_back = hold.is_some_and(|level| keeps_back(level, self.state == T::Undoing));
        let not_taken = matches!(order, OrderStands::Waiting | OrderStands::Void) && !passed;
        if kept_back && not_taken {
            return Silence::Wait;
        }
        let gone = match order {
            OrderStands::Void => !passed,
            OrderStands::Waiting => passed || over,
            _ => false,
        };
        match order {
            _ if !gone && !quiet => Silence::Wait,
            OrderStands::Waiting if !passed => Silence::TakenBack,
            _ => Silence::Expired,
        }
    }
}

/// Whether a hold keeps an order of this kind from being handed out. What takes back is kept back only where everything
/// is stopped.
pub const fn keeps_back(level: HoldLevel, undoes: bool) -> bool {
    match level {
        HoldLevel::StopAll => true,
        HoldLevel::StopNew => !undoes,
    }
}
