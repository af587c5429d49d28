//! Query strings: percent-encoded, each name once, unknown names refused.

use crate::{
    error::{Error, Result},
    feature::{Round, Timestamp},
    serving::page::PageRequest,
};

/// The parameters of a request's address, in the order sent.
#[derive(Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what stands after the question mark.
    pub fn parse(raw: Option<&str>) -> Result<Self> {
        let mut query = Self::default();
        for pair in raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value).map_err(|error| error.at(name))?);
            if query.0.iter().any(|(known, _)| *known == name) {
                return Err(Error::invalid(name, "this parameter stands twice"));
            }
            query.0.push((name, value));
        }
        Ok(query)
    }

    /// Takes a parameter out.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    /// Takes `true` or `false`; left out is false.
    pub fn take_flag(&mut self, name: &str) -> Result<bool> {
        match self.take(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(_) => Err(Error::invalid(name, "use true or false")),
        }
    }

    /// Takes an RFC 3339 timestamp.
    pub fn take_time(&mut self, name: &str, round: Round) -> Result<Option<Timestamp>> {
        match self.take(name) {
            Some(text) => Timestamp::parse(&text, round).map(Some).map_err(|why| Error::invalid(name, why)),
            None => Ok(None),
        }
    }

    /// Takes `page_size` and `page_token`.
    pub fn take_page(&mut self) -> Result<PageRequest> {
        let size = match self.take("page_size") {
            None => 0,
            Some(text) => text
                .parse()
                .map_err(|_| Error::invalid("page_size", "page_size is a number from 1 to 1000"))?,
        };
        Ok(PageRequest { size, token: self.take("page_token").unwrap_or_default() })
    }

    /// What was not taken.
    pub fn rest(self) -> Vec<(String, String)> {
        self.0
    }

    /// Refuses what was not taken.
    pub fn finish(self) -> Result<()> {
        match self.0.into_iter().next() {
            Some((name, _)) => Err(Error::invalid(name, "this parameter is not known here")),
            None => Ok(()),
        }
    }
}

fn decode(text: &str) -> Result<String> {
    let refused = || Error::refused("the address holds text that is not percent-encoded UTF-8 without NUL");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = rest.split_at_checked(2).ok_or_else(refused)?;
                rest = digits.1;
                let digit = |at: usize| char::from(digits.0[at]).to_digit(16).ok_or_else(refused);
                (digit(0)? * 16 + digit(1)?) as u8
            }
            byte => *byte,
        });
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let mut query = Query::parse(Some("a=1%202&b=%F0%9F%99%82+x&flag&=")).unwrap();
        assert_eq!(query.take("a").as_deref(), Some("1 2"));
        assert_eq!(query.take("b").as_deref(), Some("🙂 x"));
        assert_eq!(query.take_flag("flag"), Ok(true));
        assert_eq!(query.take_flag("flag"), Ok(false));
        assert!(query.finish().is_err());
        assert!(Query::parse(None).unwrap().finish().is_ok());
    }

    #[test]
    fn bad_parameters_are_refused() {
        for raw in ["a=%", "a=%4", "a=%zz", "a=%ff", "a=%00", "a=1&a=2", "a=%+1"] {
            assert!(Query::parse(Some(raw)).is_err(), "{raw}");
        }
        let mut query = Query::parse(Some("page_size=x")).unwrap();
        assert!(query.take_page().is_err());
    }
}
