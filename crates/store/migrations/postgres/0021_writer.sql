-- Which server wrote an executor's row last: of several none writes over what another has said since.
ALTER TABLE executor ADD COLUMN writer TEXT COLLATE "C" NOT NULL DEFAULT '';
