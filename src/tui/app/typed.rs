//! What is being typed: a number, or a part of a name.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::config::check_learning_rate;

/// More characters are no number that anybody means.
const LONGEST: usize = 24;
/// Nor a name that anybody looks for.
const LONGEST_NAME: usize = 40;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypedNumber {
    pub text: String,
    /// Why it was not taken; the next key takes it away.
    pub fault: Option<String>,
}

impl TypedNumber {
    /// Takes a key that edits the number: a character of one, Backspace, or Ctrl-U for all of it.
    pub fn press(&mut self, key: &KeyEvent) {
        self.fault = None;
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('u') if ctrl => self.text.clear(),
            KeyCode::Char(char @ ('0'..='9' | '.' | 'e' | 'E' | '+' | '-')) if !ctrl && self.text.len() < LONGEST => {
                self.text.push(char);
            }
            KeyCode::Backspace => drop(self.text.pop()),
            _ => {}
        }
    }

    /// # Errors
    /// Why it is no learning rate, for people.
    pub fn learning_rate(&self) -> Result<f64, String> {
        let number = self.text.parse().map_err(|_| match self.text.as_str() {
            "" => "type a number, such as 5e-4".to_owned(),
            text => format!("{text} is no number"),
        })?;
        check_learning_rate(number).map(|()| number)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypedName {
    pub text: String,
    /// Whether there is something of such a name.
    pub is_found: bool,
}

impl TypedName {
    /// Takes a key that edits the name: a character, Backspace, or Ctrl-U for all of it.
    pub fn press(&mut self, key: &KeyEvent) {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('u') if ctrl => self.text.clear(),
            KeyCode::Char(char) if !ctrl && self.text.chars().count() < LONGEST_NAME => self.text.push(char),
            KeyCode::Backspace => drop(self.text.pop()),
            _ => {}
        }
    }

    /// Whether a name has it in it, in upper or lower case.
    pub fn is_in(&self, name: &str) -> bool {
        name.to_lowercase().contains(&self.text.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> TypedNumber {
        let mut typed = TypedNumber::default();
        text.chars().for_each(|char| typed.press(&KeyEvent::new(KeyCode::Char(char), KeyModifiers::NONE)));
        typed
    }

    #[test]
    fn what_is_no_part_of_a_number_is_not_typed() {
        let mut number = typed("5xe -4q");
        assert_eq!((number.text.as_str(), number.learning_rate()), ("5e-4", Ok(5e-4)));
        number.press(&KeyEvent::new(KeyCode::Backspace, KeyModifiers::NONE));
        assert_eq!(number.learning_rate(), Err("5e- is no number".into()));
        number.press(&KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL));
        assert_eq!(number.learning_rate(), Err("type a number, such as 5e-4".into()));
        assert_eq!(typed(&"1".repeat(100)).text.len(), LONGEST);
    }

    #[test]
    fn a_learning_rate_has_limits() {
        assert_eq!(typed("16").learning_rate(), Err("learning rate 16: must be a number from 1e-12 to 10".into()));
        assert!(typed("-1").learning_rate().is_err() && typed("0").learning_rate().is_err());
    }

    #[test]
    fn a_part_of_a_name_is_found_whatever_its_case() {
        let mut name = TypedName::default();
        let press = |name: &mut TypedName, code, modifiers| name.press(&KeyEvent::new(code, modifiers));
        "BIRDx".chars().for_each(|char| press(&mut name, KeyCode::Char(char), KeyModifiers::NONE));
        press(&mut name, KeyCode::Backspace, KeyModifiers::NONE);
        assert!(name.is_in("A bird of prey") && !name.is_in("cat"));
        press(&mut name, KeyCode::Char('u'), KeyModifiers::CONTROL);
        assert!(name.text.is_empty() && name.is_in("cat"));
    }
}
