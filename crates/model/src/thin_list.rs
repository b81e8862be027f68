//! A list in one word, for fields that are mostly empty.
//!
//! Always: written and read like a `Vec`. Never here: an allocation for an empty list.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ops::{Deref, DerefMut};

/// A list that takes one word while it is empty, where a `Vec` takes three. A Controller keeps millions of orders, and most of their
/// lists are empty. An empty list is always `None`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    clippy::box_collection,
    reason = "the size of an empty list is what counts"
)]
pub struct ThinList<T>(Option<Box<Vec<T>>>);

impl<T> ThinList<T> {
    /// Returns an empty list.
    pub const fn new() -> ThinList<T> {
        ThinList(None)
    }

    /// Returns whether the list has no elements.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Adds an element at the end.
    pub fn push(&mut self, element: T) {
        self.0.get_or_insert_default().push(element);
    }

    /// Removes and returns the last element.
    pub fn pop(&mut self) -> Option<T> {
        let last = self.0.as_mut()?.pop();
        self.forget_if_empty();
        last
    }

    /// Removes all elements.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Keeps only the elements for which `is_kept` returns `true`.
    pub fn retain(&mut self, is_kept: impl FnMut(&T) -> bool) {
        if let Some(list) = &mut self.0 {
            list.retain(is_kept);
            self.forget_if_empty();
        }
    }

    fn forget_if_empty(&mut self) {
        if self.0.as_ref().is_some_and(|list| list.is_empty()) {
            self.0 = None;
        }
    }
}

impl<T> Default for ThinList<T> {
    fn default() -> ThinList<T> {
        ThinList::new()
    }
}

impl<T> From<Vec<T>> for ThinList<T> {
    fn from(list: Vec<T>) -> ThinList<T> {
        ThinList((!list.is_empty()).then(|| Box::new(list)))
    }
}

impl<T> FromIterator<T> for ThinList<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> ThinList<T> {
        elements.into_iter().collect::<Vec<T>>().into()
    }
}

impl<T> Deref for ThinList<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl<T> DerefMut for ThinList<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.0.as_deref_mut().map_or(&mut [], Vec::as_mut_slice)
    }
}

impl<'a, T> IntoIterator for &'a ThinList<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Serialize> Serialize for ThinList<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ThinList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ThinList<T>, D::Error> {
        Vec::deserialize(deserializer).map(ThinList::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_list_of_one_word() {
        assert_eq!(size_of::<ThinList<String>>(), size_of::<usize>());
        let mut list = ThinList::new();
        assert!(list.is_empty());
        list.push(1);
        list.push(2);
        assert_eq!(*list, [1, 2]);
        assert_eq!(serde_json::to_string(&list).unwrap(), "[1,2]");
        assert_eq!(
            serde_json::from_str::<ThinList<i32>>("[1,2]").unwrap(),
            list
        );
        assert_eq!(list.pop(), Some(2));
        assert_eq!(list.pop(), Some(1));
        assert_eq!(
            list,
            ThinList::default(),
            "an emptied list equals a new one"
        );
        assert_eq!(list, ThinList::from(Vec::new()));
        list.push(3);
        list.retain(|element| *element != 3);
        assert_eq!(list, ThinList::new());
    }
}
