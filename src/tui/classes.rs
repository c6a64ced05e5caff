//! The order of the classes on their page, and the cell of the confusion matrix that is chosen.

use std::cmp::Ordering;

use super::inspector::Confused;
use super::layout::Direction;
use crate::metrics::Confusion;

/// How the classes are shown: all that they are taken for, or, where there are too many for that, a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Matrix,
    List,
}

/// What the classes are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Their order in the data set.
    Class,
    Precision,
    Recall,
    F1,
    Support,
}

impl Column {
    pub const ALL: [Self; 5] = [Self::Class, Self::Precision, Self::Recall, Self::F1, Self::Support];

    /// What it says of a class, if anything.
    pub fn value(self, confusion: &Confusion, class: usize) -> Option<f64> {
        match self {
            Self::Class => Some(class as f64),
            Self::Precision => confusion.precision_of(class),
            Self::Recall => confusion.recall_of(class),
            Self::F1 => confusion.f1_of(class),
            Self::Support => Some(confusion.samples_of(class) as f64),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct ClassesPage {
    /// `None` until chosen: a matrix is in the order of the data set, a list begins with the least recall.
    sort: Option<Column>,
    /// The greatest first.
    pub descending: bool,
    /// The cell that is chosen.
    true_class: usize,
    predicted_class: usize,
    /// The first of a list that is in view, where one was chosen by a click: it must stay under the pointer.
    first_listed: Option<usize>,
}

impl ClassesPage {
    pub fn sorted_by(&self, shape: Shape) -> Column {
        self.sort.unwrap_or(match shape {
            Shape::Matrix => Column::Class,
            Shape::List => Column::Recall,
        })
    }

    pub fn sort_by_next(&mut self, shape: Shape) {
        let present = Column::ALL.iter().position(|&column| column == self.sorted_by(shape)).unwrap_or(0);
        self.sort = Some(Column::ALL[(present + 1) % Column::ALL.len()]);
    }

    /// By that column, or where it is already the other way round.
    pub fn sort_by(&mut self, column: Column, shape: Shape) {
        self.descending = self.sorted_by(shape) == column && !self.descending;
        self.sort = Some(column);
    }

    /// Of a matrix, or of a list that begins with the class at `first_listed` of its order.
    pub fn choose(&mut self, cell: Confused, first_listed: usize) {
        (self.true_class, self.predicted_class) = (cell.true_class, cell.predicted_class);
        self.first_listed = Some(first_listed);
    }

    /// To a class by itself, whatever it is taken for.
    pub fn go_to(&mut self, class: usize) {
        (self.true_class, self.predicted_class) = (class, class);
        self.first_listed = None;
    }

    /// The first class in view of a list that shows `page` of its `order`, the chosen one among them.
    pub fn first_listed(&self, order: &[usize], page: usize) -> usize {
        let chosen = self.cell(order.len()).true_class;
        let place = order.iter().position(|&class| class == chosen).unwrap_or(0);
        let kept = self.first_listed.filter(|first| (*first..first + page).contains(&place));
        kept.unwrap_or(place.saturating_sub(page / 2))
    }

    pub fn reverse(&mut self) {
        self.descending = !self.descending;
    }

    /// The chosen cell of a matrix of so many classes.
    pub fn cell(&self, classes: usize) -> Confused {
        let within = |class: usize| class.min(classes.saturating_sub(1));
        Confused { true_class: within(self.true_class), predicted_class: within(self.predicted_class) }
    }

    /// The classes in their order; those of which the column says nothing come last.
    pub fn order(&self, confusion: &Confusion, shape: Shape) -> Vec<usize> {
        let column = self.sorted_by(shape);
        let mut order: Vec<usize> = (0..confusion.classes()).collect();
        order.sort_by(|&a, &b| match (column.value(confusion, a), column.value(confusion, b)) {
            (Some(a), Some(b)) if self.descending => b.total_cmp(&a),
            (Some(a), Some(b)) => a.total_cmp(&b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        });
        order
    }

    /// Moves to a neighbour in the order that is shown; in a list there is nothing beside a class.
    pub fn step(&mut self, confusion: &Confusion, direction: Direction, shape: Shape) {
        /// As many as most screens have.
        const PAGE: isize = 10;
        let (across, down) = match (direction, shape) {
            (Direction::Left, Shape::Matrix) => (-1, 0),
            (Direction::Right, Shape::Matrix) => (1, 0),
            (Direction::Up, _) => (0, -1),
            (Direction::Down, _) => (0, 1),
            (Direction::PageUp, _) => (0, -PAGE),
            (Direction::PageDown, _) => (0, PAGE),
            (Direction::Left | Direction::Right | Direction::Start | Direction::Latest, _) => return,
        };
        self.first_listed = None;
        let order = self.order(confusion, shape);
        let cell = self.cell(order.len());
        let moved = |class: usize, by: isize| {
            let place = order.iter().position(|&other| other == class).unwrap_or(0);
            order[place.saturating_add_signed(by).min(order.len() - 1)]
        };
        (self.true_class, self.predicted_class) = (moved(cell.true_class, down), moved(cell.predicted_class, across));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confusion() -> Confusion {
        Confusion::try_from(vec![vec![3, 1, 0], vec![2, 4, 0], vec![0, 0, 0]]).unwrap()
    }

    #[test]
    fn every_column_sorts_and_what_is_not_known_comes_last() {
        let mut page = ClassesPage::default();
        let mut orders = vec![];
        for _ in 0..6 {
            orders.push((page.sorted_by(Shape::Matrix), page.order(&confusion(), Shape::Matrix)));
            page.sort_by_next(Shape::Matrix);
        }
        let expected = [
            (Column::Class, vec![0, 1, 2]),
            (Column::Precision, vec![0, 1, 2]),
            (Column::Recall, vec![1, 0, 2]),
            (Column::F1, vec![0, 1, 2]),
            (Column::Support, vec![2, 0, 1]),
            (Column::Class, vec![0, 1, 2]),
        ];
        assert_eq!(orders, expected);
        page.reverse();
        assert_eq!(
            (page.sorted_by(Shape::Matrix), page.order(&confusion(), Shape::Matrix)),
            (Column::Precision, vec![1, 0, 2])
        );
        page.sort_by_next(Shape::Matrix);
        assert_eq!(page.order(&confusion(), Shape::Matrix), [0, 1, 2], "the greatest recall first");
        let list = ClassesPage::default();
        assert_eq!(list.order(&confusion(), Shape::List), [1, 0, 2], "the least recall first");
    }

    #[test]
    fn the_chosen_cell_moves_in_the_order_that_is_shown() {
        let mut page = ClassesPage::default();
        let cell = |page: &ClassesPage| {
            let Confused { true_class, predicted_class } = page.cell(3);
            (true_class, predicted_class)
        };
        let mut after = |direction, shape| {
            page.step(&confusion(), direction, shape);
            cell(&page)
        };
        assert_eq!(after(Direction::Up, Shape::Matrix), (0, 0));
        assert_eq!(after(Direction::Right, Shape::Matrix), (0, 1));
        assert_eq!(after(Direction::Down, Shape::Matrix), (1, 1));
        assert_eq!(after(Direction::PageDown, Shape::Matrix), (2, 1));
        assert_eq!(after(Direction::Left, Shape::List), (2, 1), "in a list there is nothing beside a class");
        assert_eq!(after(Direction::Up, Shape::List), (0, 1));
        assert_eq!(page.cell(1), Confused { true_class: 0, predicted_class: 0 });
    }
}
