//! The rows of this door's methods in the table of operations of the name space.

use std::sync::LazyLock;

use http::Method;
use strata_namespace::{Door, Operation, operations_of};

use crate::metrics::{METHODS, number_of};

static ROWS: LazyLock<Vec<&'static Operation>> = LazyLock::new(|| operations_of(Door::WebDav, METHODS));

/// The row of a method; those that are not served share one.
pub(crate) fn of_method(method: &Method) -> &'static Operation {
    ROWS[number_of(method)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_a_row_of_its_own() {
        for name in METHODS {
            let method = Method::from_bytes(name.as_bytes()).expect("a method");
            assert_eq!(of_method(&method).name, name);
        }
        assert_eq!(of_method(&Method::TRACE).name, "other");
    }
}
