//! The `If` header of RFC 4918 section 10.4: parsed whole or refused, and evaluated against the present state.
//!
//! Pure: what is true now comes in through [`State`]. All state tokens anywhere in the header count as submitted, whether
//! or not their list held; lists are alternatives, the conditions of one list must all hold.

/// Most conditions one header may have; each costs one look at the store.
pub(crate) const CONDITIONS_MAX: usize = 64;

/// One condition of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Condition {
    /// Whether `Not` stood before it.
    pub(crate) negated: bool,
    /// What is asked.
    pub(crate) what: Matcher,
}

/// What a condition asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Matcher {
    /// `<token>`: a lock with this token covers the resource.
    Token(String),
    /// `["etag"]`: the resource has this ETag; as written, with quotes.
    ETag(String),
}

/// Conditions that must all hold for one resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct List {
    /// The tagged resource; `None` for the one of the request.
    pub(crate) resource: Option<String>,
    /// In order, at least one.
    pub(crate) conditions: Vec<Condition>,
}

/// A whole header: at least one list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct IfHeader {
    /// Alternatives, in order.
    pub(crate) lists: Vec<List>,
}

/// What an evaluation needs to know. `resource` is as in [`List::resource`].
pub(crate) trait State {
    /// Whether a lock with this token covers the resource.
    fn has_token(&mut self, resource: Option<&str>, token: &str) -> bool;
    /// The ETag of the resource, with quotes; `None` if there is no such resource or it has none.
    fn etag(&mut self, resource: Option<&str>) -> Option<String>;
}

/// Not an `If` header.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the If header cannot be read at byte {at}: {expected}; nothing was changed")]
pub(crate) struct IfSyntax {
    at: usize,
    expected: &'static str,
}

impl IfHeader {
    /// Reads a header value.
    ///
    /// # Errors
    /// Anything but the grammar of RFC 4918, and more than [`CONDITIONS_MAX`] conditions.
    pub(crate) fn parse(text: &str) -> Result<Self, IfSyntax> {
        let mut input = Input { text, at: 0 };
        let mut lists = Vec::new();
        let mut resource = None;
        let mut total = 0;
        input.skip_space();
        loop {
            match input.peek() {
                Some(b'<') => {
                    // A tag holds for all lists up to the next one; untagged and tagged lists do not mix.
                    if resource.is_none() && !lists.is_empty() {
                        return Err(input.expected("a list, since the first list had no resource tag"));
                    }
                    resource = Some(input.between(b'<', b'>')?);
                    input.skip_space();
                    if input.peek() != Some(b'(') {
                        return Err(input.expected("a list after the resource tag"));
                    }
                }
                Some(b'(') => {
                    let conditions = input.list(&mut total)?;
                    lists.push(List { resource: resource.clone(), conditions });
                }
                None if !lists.is_empty() => return Ok(Self { lists }),
                _ => return Err(input.expected("a list in parentheses")),
            }
            input.skip_space();
        }
    }

    /// Every token mentioned.
    pub(crate) fn tokens(&self) -> Vec<String> {
        let conditions = self.lists.iter().flat_map(|list| &list.conditions);
        conditions
            .filter_map(|condition| match &condition.what {
                Matcher::Token(token) => Some(token.clone()),
                Matcher::ETag(_) => None,
            })
            .collect()
    }

    /// Whether any list holds. The unknown token scheme `DAV:no-lock` never matches (section 10.4.8).
    pub(crate) fn holds(&self, state: &mut dyn State) -> bool {
        self.lists.iter().any(|list| {
            let resource = list.resource.as_deref();
            list.conditions.iter().all(|condition| {
                let found = match &condition.what {
                    Matcher::Token(token) => !token.starts_with("DAV:") && state.has_token(resource, token),
                    // Strong comparison: a weak tag matches nothing.
                    Matcher::ETag(tag) => tag.starts_with('"') && state.etag(resource).as_deref() == Some(tag),
                };
                found != condition.negated
            })
        })
    }
}

struct Input<'a> {
    text: &'a str,
    at: usize,
}

impl Input<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }
    fn expected(&self, expected: &'static str) -> IfSyntax {
        IfSyntax { at: self.at, expected }
    }
    /// Text between two delimiters, not empty; the cursor ends behind the second.
    fn between(&mut self, open: u8, close: u8) -> Result<String, IfSyntax> {
        if self.peek() != Some(open) {
            return Err(self.expected("an opening delimiter"));
        }
        let rest = &self.text.as_bytes()[self.at + 1..];
        let len = rest.iter().position(|&byte| byte == close).ok_or_else(|| self.expected("a closing delimiter"))?;
        // Both delimiters are ASCII, so the slice lies on character boundaries.
        let inner = self.text.get(self.at + 1..self.at + 1 + len).unwrap_or_default().trim();
        if inner.is_empty() {
            return Err(self.expected("something between the delimiters"));
        }
        self.at += len + 2;
        Ok(inner.to_owned())
    }
    fn list(&mut self, total: &mut usize) -> Result<Vec<Condition>, IfSyntax> {
        self.at += 1;
        let mut conditions = Vec::new();
        loop {
            self.skip_space();
            if self.peek() == Some(b')') && !conditions.is_empty() {
                self.at += 1;
                return Ok(conditions);
            }
            let negated =
                self.text.as_bytes()[self.at..].get(..3).is_some_and(|word| word.eq_ignore_ascii_case(b"not"));
            if negated {
                self.at += 3;
                self.skip_space();
            }
            let what = match self.peek() {
                Some(b'<') => Matcher::Token(self.between(b'<', b'>')?),
                Some(b'[') => Matcher::ETag(self.entity_tag()?),
                _ => return Err(self.expected("a state token or an entity tag")),
            };
            *total += 1;
            if *total > CONDITIONS_MAX {
                return Err(self.expected("fewer conditions"));
            }
            conditions.push(Condition { negated, what });
        }
    }
    /// `["..."]` or `[W/"..."]`; a closing bracket inside the quotes belongs to the tag.
    fn entity_tag(&mut self) -> Result<String, IfSyntax> {
        self.at += 1;
        self.skip_space();
        let start = self.at;
        if self.text.as_bytes()[self.at..].starts_with(b"W/") {
            self.at += 2;
        }
        if self.peek() != Some(b'"') {
            return Err(self.expected("a quoted entity tag"));
        }
        let rest = &self.text.as_bytes()[self.at + 1..];
        let len = rest.iter().position(|&byte| byte == b'"').ok_or_else(|| self.expected("a closing quote"))?;
        self.at += len + 2;
        let tag = self.text.get(start..self.at).unwrap_or_default().to_owned();
        self.skip_space();
        if self.peek() != Some(b']') {
            return Err(self.expected("a closing bracket"));
        }
        self.at += 1;
        Ok(tag)
    }
}

#[cfg(test)]
mod tests;
