//! What this replica is among those that serve one database.

/// How its configuration stands to what filters have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Standing {
    /// No replica has published its configuration yet: what filters would get refuses everybody.
    #[default]
    Unpublished,
    /// Filters have what this replica's configuration says.
    Agrees,
    /// The leader has another one, and what it says counts.
    Differs {
        /// A name of this replica's configuration.
        own: String,
        /// A name of the leader's.
        leaders: String,
    },
}

impl Standing {
    /// Of a replica's own configuration and the one that is published.
    #[must_use]
    pub fn of(own: String, published: String) -> Self {
        match published {
            none if none.is_empty() => Self::Unpublished,
            same if same == own => Self::Agrees,
            leaders => Self::Differs { own, leaders },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_counts() {
        let of = |published: &str| Standing::of("a".to_owned(), published.to_owned());
        assert_eq!((of(""), of("a")), (Standing::Unpublished, Standing::Agrees));
        assert_eq!(of("b"), Standing::Differs { own: "a".to_owned(), leaders: "b".to_owned() });
    }
}
