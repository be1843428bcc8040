-- What an approver signed with a key of their own, for executors that ask for it.
ALTER TABLE approval ADD COLUMN signed TEXT;
