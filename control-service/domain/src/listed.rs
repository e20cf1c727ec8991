/// A page of a list: the entries, and what to give as `after` for the next page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// The entries.
    pub items: Vec<T>,
    /// `Some` when there may be more.
    pub next: Option<String>,
}

impl<T> Listed<T> {
    /// From up to `limit + 1` entries, the last of which only tells that there is more.
    pub fn new(mut items: Vec<T>, limit: usize, key: impl Fn(&T) -> String) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(key) } else { None };
        Self { items, next }
    }
}
