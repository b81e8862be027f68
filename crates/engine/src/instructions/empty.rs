//! Empty: does nothing; holds a label.

use super::{Doing, Here};

pub(crate) fn next(here: &Here<'_>) -> Doing {
    Doing::Goes(here.position.next())
}
