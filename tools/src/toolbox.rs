//! The tools of one server: the builtin ones, and the tasks that the machine's owner named.
//!
//! Made once, from the policy that is in force, and passed to whoever needs tools; there is no list beside it. The order
//! is always the same: the builtin tools, then the tasks by name.

use cofferdam_contract::Task;

use crate::{Tool, builtin, task::TaskTool};

/// The tools.
#[derive(Debug, Default)]
pub struct Toolbox {
    /// Sorted by name.
    tasks: Vec<TaskTool>,
}

impl Toolbox {
    /// The builtin tools and one for each task. A task with a builtin tool's name is never found; policies refuse it.
    #[must_use]
    pub fn new(tasks: impl IntoIterator<Item = Task>) -> Self {
        let mut tasks: Vec<TaskTool> = tasks.into_iter().map(TaskTool::new).collect();
        tasks.sort_by(|left, right| left.name().cmp(right.name()));
        Self { tasks }
    }

    /// All tools.
    pub fn all(&self) -> impl Iterator<Item = &dyn Tool> {
        let tasks = self.tasks.iter().map(|task| task as &dyn Tool);
        builtin().iter().map(|tool| *tool as &dyn Tool).chain(tasks)
    }

    /// Whether a list of these tools and one of the other's tell a client the same.
    #[must_use]
    pub fn is_listed_as(&self, other: &Self) -> bool {
        let listed = |tool: &TaskTool| (tool.name().to_owned(), tool.description().to_owned(), tool.input_schema());
        self.tasks.iter().map(listed).eq(other.tasks.iter().map(listed))
    }

    /// The tool called `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&dyn Tool> {
        self.all().find(|tool| tool.name() == name)
    }
}
