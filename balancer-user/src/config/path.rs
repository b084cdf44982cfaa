//! Turns the steps from a file's root to a value into a key path such as `projects[0].services[1].ports[0].port`.

use std::fmt;

/// A position in a config file. Paths are chains on the stack: nothing is allocated until an error is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyPath<'a> {
    parent: Option<&'a KeyPath<'a>>,
    step: Step<'a>,
}

/// One step of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    /// The root of the source at this position.
    Root(usize),
    /// Into a table.
    Key(&'a str),
    /// Into an array.
    Index(usize),
}

impl<'a> KeyPath<'a> {
    /// The root of the source at position `source`.
    pub(crate) const fn root(source: usize) -> Self {
        Self { parent: None, step: Step::Root(source) }
    }

    /// The value of `key` in the table here.
    pub(crate) const fn key<'b>(&'b self, key: &'b str) -> KeyPath<'b> {
        KeyPath { parent: Some(self), step: Step::Key(key) }
    }

    /// The element at `index` in the array here.
    pub(crate) const fn index(&self, index: usize) -> KeyPath<'_> {
        KeyPath { parent: Some(self), step: Step::Index(index) }
    }

    /// Which source the path is in.
    pub(crate) fn source(&self) -> usize {
        self.steps()
            .iter()
            .find_map(|step| match step {
                Step::Root(source) => Some(*source),
                Step::Key(_) | Step::Index(_) => None,
            })
            .unwrap_or_default()
    }

    /// The steps from the root on.
    pub(crate) fn steps(&self) -> Vec<Step<'a>> {
        let mut steps = vec![self.step];
        let mut at = self.parent;
        while let Some(path) = at {
            steps.push(path.step);
            at = path.parent;
        }
        steps.reverse();
        steps
    }
}

impl fmt::Display for KeyPath<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for step in self.steps() {
            match step {
                Step::Root(_) => continue,
                Step::Key(key) if first => write!(formatter, "{key}")?,
                Step::Key(key) => write!(formatter, ".{key}")?,
                Step::Index(index) => write!(formatter, "[{index}]")?,
            }
            first = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_reads_as_it_would_be_written() {
        let root = KeyPath::root(3);
        let projects = root.key("projects");
        let project = projects.index(0);
        assert_eq!(project.key("vni").to_string(), "projects[0].vni");
        assert_eq!(project.source(), 3);
        assert_eq!(root.to_string(), "");
    }
}
